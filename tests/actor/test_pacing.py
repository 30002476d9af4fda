"""Whether an actor goes on without its learner's leave: a robot does, a simulation waits."""

import pytest

from graspfleet.actor.pacing import NUM_MEASUREMENTS, REAL_TIME_STEP_S, SILENT_S, Pace


def paced(step_s: float, steps_a_look: int = 1, looks: int = NUM_MEASUREMENTS + 1) -> Pace:
    """Return the pace of an actor whose env steps take `step_s`."""
    pace, now_s = Pace(), 100.0
    for _ in range(looks):
        pace.measure(now_s)
        for _ in range(steps_a_look):
            pace.stepped()
        now_s += step_s * steps_a_look
    pace.measure(now_s)
    return pace


def test_a_simulation_waits_however_long_the_learner_is_silent() -> None:
    pace = paced(0.0001, steps_a_look=20)
    assert pace.step_s == pytest.approx(0.0001)
    assert not pace.goes_on(unacked=1, silent_s=1000.0)


def test_a_robot_waits_only_for_a_learner_that_speaks() -> None:
    pace = paced(0.05)
    assert pace.step_s == pytest.approx(0.05)
    assert not pace.goes_on(unacked=1000, silent_s=SILENT_S - 0.01)
    assert pace.goes_on(unacked=1000, silent_s=SILENT_S + 0.01)
    assert pace.goes_on(unacked=1000, silent_s=0.0)  # the learner is back, and has much to work off
    pace.is_ahead = False
    assert not pace.goes_on(unacked=1000, silent_s=0.0)
    assert pace.goes_on(unacked=3, silent_s=0.0)  # too few steps for the answer to be late


def test_nothing_is_known_of_the_first_steps() -> None:
    assert not paced(0.05, looks=NUM_MEASUREMENTS - 1).goes_on(unacked=1, silent_s=1000.0)


def test_a_slow_reset_makes_no_robot_and_waits_are_left_out() -> None:
    pace = paced(0.0001, steps_a_look=20)
    for start_s in (200.0, 300.0):
        pace.measure(start_s)
        pace.stepped()
        pace.measure(start_s + 14.0)
    assert pace.step_s < REAL_TIME_STEP_S
    pace.stepped()
    pace.waited()
    pace.stepped()
    pace.measure(900.0)
    pace.stepped()
    pace.measure(900.05)
    assert pace.step_s < REAL_TIME_STEP_S
