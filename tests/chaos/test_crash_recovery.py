"""SIGKILL under full load: every transition exactly once."""

from pathlib import Path

import pytest

from tests.chaos.crash_recovery import CrashingFleet, check


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_learners_and_ten_actors_die_and_nothing_is_lost(tmp_path: Path) -> None:
    crashing = CrashingFleet(tmp_path, seed=1)
    try:
        for _ in range(10):
            crashing.kill_the_learner()
            crashing.kill_an_actor()
        found = crashing.end()
    finally:
        crashing.fleet.end()
    print(found)
    check(found, crashing)


def test_one_learner_and_one_actor_die_and_nothing_is_lost(tmp_path: Path) -> None:
    crashing = CrashingFleet(tmp_path, seed=2)
    try:
        crashing.kill_an_actor()
        crashing.kill_the_learner()
        found = crashing.end()
    finally:
        crashing.fleet.end()
    check(found, crashing)
