"""Classification of failed grasps by their states, for `benchmarks.failures`.

In: what the simulation was like after each step. Out: one word for how it ended. Must not know: PyBullet,
policies, pictures. Contacts are those at the end of each control step, so a knock between two of them shows
only in how the object has moved.
"""

import math
from collections.abc import Sequence
from enum import StrEnum

from graspfleet.actor.grasp.observation import GraspState
from graspfleet.actor.grasp.task import SUCCESS_HEIGHT_M

LIFTED_M = 0.03
"""Between both fingers and so far above where it lay, an object counts as lifted."""
MOVED_M = 0.05
"""An object never lifted that ends so far from where it began, on the table, was pushed or rolled away."""
TIPPED_RAD = math.radians(45)
"""An object never lifted whose vertical axis has turned by so much was knocked over."""


class Outcome(StrEnum):
    """Outcome of an episode; the first that applies, in this order."""

    SUCCESS = "success"
    BROKEN = "broken simulation"
    LEFT = "left the workspace"
    LOW = "held, but too low at the end"
    CARRIED = "up, but not between both fingers"
    LOST = "lifted and lost"
    MOVED = "pushed or rolled away"
    TIPPED = "knocked over"
    TOUCHED = "touched, never lifted"
    MISSED = "never touched"


def outcome(
    states: Sequence[GraspState], *, success: bool, terminated: bool, broken: bool = False
) -> Outcome:
    """Return how an episode ended.

    Args:
        states: after the reset and after each step, one at least.
        success: of the last step.
        terminated: the object had left the workspace.
        broken: the simulation gave up.
    """
    if success:
        return Outcome.SUCCESS
    if broken:
        return Outcome.BROKEN
    if terminated:
        return Outcome.LEFT
    first, last = states[0], states[-1]
    if is_lifted(last):
        return Outcome.LOW
    if last.object_height_m >= SUCCESS_HEIGHT_M:
        return Outcome.CARRIED
    if any(map(is_lifted, states)):
        return Outcome.LOST
    if math.dist(first.object_position[:2], last.object_position[:2]) > MOVED_M:
        return Outcome.MOVED
    if tilt_rad(first, last) > TIPPED_RAD:
        return Outcome.TIPPED
    return Outcome.TOUCHED if any(one.left_contact or one.right_contact for one in states) else Outcome.MISSED


def is_lifted(state: GraspState) -> bool:
    """Return whether the object is between both fingers and off the table."""
    return state.left_contact and state.right_contact and state.object_height_m >= LIFTED_M


def lying_m(state: GraspState) -> tuple[float, float, float]:
    """Return width (the narrower side), length and height of the bounding box as the object lies.

    The box's own axes are kept, each going to the world axis that it is nearest to, so a tilt of a few
    degrees does not count. The shape inside may be narrower: most random objects whose box is wider than the
    open gripper can be gripped at one of their parts, so too wide a box is no reason of a failure.
    """
    rotation, extents = state.object_rotation, state.object_extents_m
    upright = max(range(3), key=lambda axis: abs(rotation[6 + axis]))
    width, length = sorted(edge for axis, edge in enumerate(extents) if axis != upright)
    return width, length, extents[upright]


def tilt_rad(one: GraspState, two: GraspState) -> float:
    """Return the angle between where the world's vertical is in the object, then and now."""
    cosine = sum(a * b for a, b in zip(one.object_rotation[6:], two.object_rotation[6:], strict=True))
    return math.acos(max(-1.0, min(1.0, cosine)))


def last_closing(states: Sequence[GraspState]) -> int:
    """Return the step at which the gripper was last told to close, or the last step if it never was."""
    closings = [
        step
        for step in range(1, len(states))
        if states[step].gripper_command < 0 <= states[step - 1].gripper_command
    ]
    return closings[-1] if closings else len(states) - 1
