"""A thousand connections: nothing lost, bounded memory (`benchmarks/many_actors.py` measures throughput)."""

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
    command = [sys.executable, "-m", "benchmarks.many_actors", "--count", "1000", "--seconds", "60"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    assert (found["lost"], found["duplicated"], found["all_acknowledged"]) == (0, 0, True)
    assert found["produced"] > 100_000
    assert found["learner_rss_mb"] < MEMORY_MB
