"""The grasping task: rewards, success, and termination.

In: a `GraspState`. Out: numbers and booleans.
Must not know: PyBullet, actions, time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from graspfleet.actor.grasp.observation import GAP_MAX_M, WORKSPACE_HIGH_M, WORKSPACE_LOW_M, GraspState

SUCCESS_HEIGHT_M = 0.10
LIFT_FULL_M = 0.12
"""Height of the full lift reward: above the success height, so that policies do not hold right at it."""
REACH_PER_M = 6.0
REACH_WEIGHT, GRASP_WEIGHT, LIFT_WEIGHT = 0.2, 0.2, 0.6
LOST_MARGIN_M = 0.08
"""Distance outside of the workspace at which an object is lost; one held at the edge is not."""
LOST_ABOVE_M = 0.6
LOST_BELOW_M = -0.05

Reward = Callable[[GraspState], float]


def is_success(state: GraspState) -> bool:
    """Return whether the object is raised by at least `SUCCESS_HEIGHT_M` with both fingers touching it."""
    return state.left_contact and state.right_contact and state.object_height_m >= SUCCESS_HEIGHT_M


def is_lost(state: GraspState) -> bool:
    """Return whether the object is more than `LOST_MARGIN_M` outside of the workspace, or too high or low."""
    x, y, z = state.object_position
    return not (
        WORKSPACE_LOW_M[0] - LOST_MARGIN_M <= x <= WORKSPACE_HIGH_M[0] + LOST_MARGIN_M
        and WORKSPACE_LOW_M[1] - LOST_MARGIN_M <= y <= WORKSPACE_HIGH_M[1] + LOST_MARGIN_M
        and LOST_BELOW_M <= z <= LOST_ABOVE_M
    )


def shaped_reward(state: GraspState) -> float:
    """Return 0.2 reach + 0.2 grasp + 0.6 lift, each part in [0, 1].

    reach = 1 - tanh(6 d), d the distance in meters from the grasp point to the object's center.
    grasp = (1 - g_left / 4 cm) (1 - g_right / 4 cm), g the gap between a finger and the object, at most
        4 cm. It grows while the gripper closes and is 1 when both fingers touch. A single finger earns
        nothing, because pushing is not progress.
    lift = clip(height / 0.12 m, 0, 1) while both fingers touch, else 0.

    All parts are paid in every step in which the object is held, so a long hold is worth most.
    """
    reach = 1.0 - math.tanh(REACH_PER_M * math.dist(state.ee_position, state.object_position))
    grasp = (1.0 - state.left_gap.distance_m / GAP_MAX_M) * (1.0 - state.right_gap.distance_m / GAP_MAX_M)
    reward = REACH_WEIGHT * reach + GRASP_WEIGHT * grasp
    if state.left_contact and state.right_contact:
        reward += LIFT_WEIGHT * min(max(state.object_height_m / LIFT_FULL_M, 0.0), 1.0)
    return reward


def sparse_reward(state: GraspState) -> float:
    """Return 1 at success, else 0."""
    return 1.0 if is_success(state) else 0.0


REWARDS: Mapping[str, Reward] = MappingProxyType({"shaped": shaped_reward, "sparse": sparse_reward})


def reward_function(name: str) -> Reward:
    """Return the reward called `name`.

    Raises:
        ValueError: there is no such reward; the message lists the allowed ones.
    """
    if name not in REWARDS:
        raise ValueError(f"reward={name!r} is unknown; allowed: {', '.join(REWARDS)}")
    return REWARDS[name]
