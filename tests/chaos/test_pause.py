"""A learner that stands still for a minute: actors wait in bounded memory, and nothing is lost."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.chaos.killing import Carnage, check
from tests.end_to_end.harness import until

PAUSE_S = 60.0


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_paused_learner_costs_an_actor_no_memory_and_no_transition(tmp_path: Path) -> None:
    carnage = Carnage(tmp_path, seed=3)
    try:
        pids = {name: carnage.fleet.pid(name) for name in carnage.actors}
        before = {name: psutil.Process(pid).memory_info().rss for name, pid in pids.items()}
        carnage.fleet.signal("learner", signal.SIGSTOP)
        end_s = time.monotonic() + PAUSE_S
        until(lambda: time.monotonic() > end_s, "the pause is over", PAUSE_S + 30)
        growth = {
            name: (psutil.Process(pid).memory_info().rss - before[name]) / 1e6 for name, pid in pids.items()
        }
        carnage.fleet.signal("learner", signal.SIGCONT)
        found = carnage.end()
    finally:
        carnage.fleet.end()
    print(f"growth of the actors during the pause, MB: {growth}; {found}")
    assert max(growth.values()) < 20
    check(found, carnage)
