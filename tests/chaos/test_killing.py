"""SIGKILL under full load: every transition exactly once."""

from pathlib import Path

import pytest

from tests.chaos.killing import Carnage, check


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_learners_and_ten_actors_die_and_nothing_is_lost(tmp_path: Path) -> None:
    carnage = Carnage(tmp_path, seed=1)
    try:
        for _ in range(10):
            carnage.kill_the_learner()
            carnage.kill_an_actor()
        found = carnage.end()
    finally:
        carnage.fleet.end()
    print(found)
    check(found, carnage)


def test_one_learner_and_one_actor_die_and_nothing_is_lost(tmp_path: Path) -> None:
    carnage = Carnage(tmp_path, seed=2)
    try:
        carnage.kill_an_actor()
        carnage.kill_the_learner()
        found = carnage.end()
    finally:
        carnage.fleet.end()
    check(found, carnage)
