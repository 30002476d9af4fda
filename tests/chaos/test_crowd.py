"""A thousand connections: nothing lost, bounded memory. How fast is `benchmarks/crowd.py`'s to say."""

import json
import os
import subprocess
import sys

import pytest

from tests.end_to_end.harness import ROOT

MEMORY_MB = 1000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_thousand_light_actors_lose_nothing() -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("the learner and the crowd need a core each")
    command = [sys.executable, "-m", "benchmarks.crowd", "--count", "1000", "--seconds", "60"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert (found["lost_n"], found["twice_n"], found["all_acknowledged"]) == (0, 0, True)
    assert found["produced_n"] > 100_000
    assert found["learner_rss_mb"] < MEMORY_MB
