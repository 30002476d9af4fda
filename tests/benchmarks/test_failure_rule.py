"""How a grasp failed: every outcome from a few made-up states."""

import math
from dataclasses import replace

import pytest

from benchmarks.failure_rule import LIFTED_M, MOVED_M, Outcome, last_closing, lying_m, outcome
from graspfleet.actor.grasp.observation import WIDE_GAP, GraspState

UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
ON_ITS_SIDE = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0)
LYING = GraspState(
    ee_position=(0.5, 0.0, 0.2),
    ee_rotation=UPRIGHT,
    ee_velocity=(0.0, 0.0, 0.0),
    finger_width_m=0.08,
    left_contact=False,
    right_contact=False,
    left_gap=WIDE_GAP,
    right_gap=WIDE_GAP,
    gripper_command=1.0,
    object_position=(0.5, 0.0, 0.02),
    object_rotation=UPRIGHT,
    object_velocity=(0.0, 0.0, 0.0),
    object_height_m=0.0,
    object_extents_m=(0.06, 0.04, 0.05),
    object_middle_m=(0.0, 0.0, 0.0),
)
TOUCHED = replace(LYING, left_contact=True)
HELD_LOW = replace(LYING, left_contact=True, right_contact=True, object_height_m=LIFTED_M)
UP_UNHELD = replace(TOUCHED, object_height_m=0.2)
AWAY = replace(LYING, object_position=(0.5, 2 * MOVED_M, 0.02))
TIPPED = replace(LYING, object_rotation=ON_ITS_SIDE)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ((LYING, LYING), Outcome.MISSED),
        ((LYING, TOUCHED, LYING), Outcome.TOUCHED),
        ((LYING, TOUCHED, TIPPED), Outcome.TIPPED),
        ((LYING, TIPPED, AWAY), Outcome.MOVED),
        ((LYING, AWAY, LYING), Outcome.MISSED),
        ((LYING, HELD_LOW, AWAY), Outcome.LOST),
        ((LYING, HELD_LOW, TIPPED), Outcome.LOST),
        ((LYING, HELD_LOW), Outcome.LOW),
        ((LYING, HELD_LOW, UP_UNHELD), Outcome.CARRIED),
    ],
)
def test_the_first_rule_that_applies_names_the_failure(
    states: tuple[GraspState, ...], expected: Outcome
) -> None:
    assert outcome(states, success=False, terminated=False) is expected


def test_what_the_episode_itself_says_comes_first() -> None:
    states = (LYING, HELD_LOW)
    assert outcome(states, success=True, terminated=False) is Outcome.SUCCESS
    assert outcome(states, success=False, terminated=True) is Outcome.LEFT
    assert outcome(states, success=False, terminated=False, broken=True) is Outcome.BROKEN


def test_the_sizes_are_those_of_the_object_as_it_lies() -> None:
    assert lying_m(LYING) == (0.04, 0.06, 0.05)
    tilt = math.sin(0.3), math.cos(0.3)
    leaning = (1.0, 0.0, 0.0, 0.0, tilt[1], -tilt[0], 0.0, tilt[0], tilt[1])
    assert lying_m(replace(LYING, object_rotation=leaning)) == (0.04, 0.06, 0.05)
    assert lying_m(TIPPED) == (0.05, 0.06, 0.04)


@pytest.mark.parametrize(("commands", "step"), [((1, 1, 1), 2), ((1, -1, 1, -0.5, -1), 3), ((1, -1, -1), 1)])
def test_the_last_closing_is_a_change_from_open_to_closed(commands: tuple[float, ...], step: int) -> None:
    assert last_closing([replace(LYING, gripper_command=command) for command in commands]) == step
