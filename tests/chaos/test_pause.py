"""A paused learner: actors wait with bounded memory, robots go on, and nothing is lost."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.chaos.audit import audit
from tests.chaos.crash_recovery import CrashingFleet, check
from tests.chaos.robot_env import STEP_S, pauses_between
from tests.end_to_end.harness import Fleet, until

PAUSE_S = 60.0
ROBOT = "tests.chaos.robot_env:Robot-v0"
CAPACITY = 10_000
LONGEST_WAIT_S = 0.05
"""Longest pause of a robot between two steps, seconds."""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_paused_learner_costs_an_actor_no_memory_and_no_transition(tmp_path: Path) -> None:
    crashing = CrashingFleet(tmp_path, seed=3)
    try:
        pids = {name: crashing.fleet.pid(name) for name in crashing.actors}
        before = {name: psutil.Process(pid).memory_info().rss for name, pid in pids.items()}
        crashing.fleet.signal("learner", signal.SIGSTOP)
        end_s = time.monotonic() + PAUSE_S
        until(lambda: time.monotonic() > end_s, "the pause is over", PAUSE_S + 30)
        growth = {
            name: (psutil.Process(pid).memory_info().rss - before[name]) / 1e6 for name, pid in pids.items()
        }
        crashing.fleet.signal("learner", signal.SIGCONT)
        found = crashing.end()
    finally:
        crashing.fleet.end()
    print(f"growth of the actors during the pause, MB: {growth}; {found}")
    assert max(growth.values()) < 20
    check(found, crashing)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("pause_s", [6.0, pytest.param(30.0, marks=pytest.mark.slow)])
def test_a_robot_goes_on_while_its_learner_stands_still(fleet: Fleet, tmp_path: Path, pause_s: float) -> None:
    made, pauses = tmp_path / "made", tmp_path / "pauses"
    made.mkdir()
    fleet.start_learner("--env", ROBOT, "--replay-capacity", str(CAPACITY), "--explore-steps", "1000")
    fleet.start_actor("robot", "--env", ROBOT, "--env-args", f"folder={made}", f"pauses={pauses}")
    statuses = fleet.statuses()
    statuses.until(lambda status: status.metrics.get("inserted", 0) >= 40, "the robot moves")
    statuses.close()
    fleet.signal("learner", signal.SIGSTOP)
    began_s = time.monotonic()
    until(lambda: time.monotonic() > began_s + pause_s, "the pause is over", pause_s + 30)
    ended_s = time.monotonic()
    fleet.signal("learner", signal.SIGCONT)
    until(lambda: time.monotonic() > ended_s + 2.0, "the learner takes what it missed")
    fleet.signal("robot", signal.SIGTERM)
    assert fleet.wait("robot") == 0, fleet.output("robot")
    assert "all acknowledged" in fleet.output("robot")
    fleet.signal("learner", signal.SIGTERM)
    assert fleet.wait("learner") == 0, fleet.output("learner")
    waits = pauses_between(pauses, began_s, ended_s + 2.0)
    assert len(waits) > 0.8 * (pause_s + 2.0) / STEP_S
    assert max(waits) <= LONGEST_WAIT_S
    found = audit(fleet.run, CAPACITY, made)
    assert (found.missing, found.twice) == ({}, 0)
