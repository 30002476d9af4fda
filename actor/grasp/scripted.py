"""A scripted expert for `GraspEnv`: hover, descend, close, lift.

Enters: observations. Leaves: actions, [5] float32 in [-1, 1].
Must not know: PyBullet. It reads what a policy reads, so its episodes can serve as demonstrations.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from actor.grasp.observation import OFFSET_SCALE_M
from actor.grasp.robot import STEP_M, STEP_YAW_RAD

HOVER_M = 0.08
"""Height of the grasp point above the object's centre before it descends."""
ALIGNED_M = 0.012
DEEP_ENOUGH_M = 0.012
CLOSING_STEPS = 3
LIFT_SPEED = 0.6
"""Of the largest upward action. Gently: a jerk can shake the object out of the fingers."""


class ScriptedGrasp:
    """A small state machine over hover, descend, close and lift; `reset` it with every episode."""

    def __init__(self) -> None:
        """Start with the approach."""
        self.reset()

    def reset(self) -> None:
        """Forget the episode."""
        self.stage = "hover"
        self._closing_steps = 0

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the next action.

        Args:
            observation: [28] float32, as `actor.grasp.observation.encode` lays it out.

        Returns:
            [5] float32 in [-1, 1].
        """
        sine, cosine = float(observation[3]), float(observation[4])
        forward, side, below = (float(value) * OFFSET_SCALE_M for value in observation[12:15])
        # The gripper points down: from its frame to the world's, y and z change sign.
        dx = cosine * forward + sine * side
        dy = sine * forward - cosine * side
        dz = -below
        turn = self._turn(observation)
        self._advance(observation, math.hypot(dx, dy), dz)
        gripper = 1.0 if self.stage in ("hover", "descend") else -1.0
        if self.stage == "hover":
            dz += HOVER_M
        elif self.stage == "close":
            dx = dy = dz = turn = 0.0
        elif self.stage == "lift":
            dx = dy = turn = 0.0
            dz = LIFT_SPEED * STEP_M
        action = (dx / STEP_M, dy / STEP_M, dz / STEP_M, turn / STEP_YAW_RAD, gripper)
        return np.array([min(max(part, -1.0), 1.0) for part in action], dtype=np.float32)

    def _turn(self, observation: NDArray[np.float32]) -> float:
        """Return the smaller of the turns that bring the fingers flat against two faces of a box, radians."""
        # Column one of the object's rotation, in the gripper's frame, points along one pair of faces.
        angle = math.atan2(float(observation[16]), float(observation[15]))
        quarter = math.pi / 2
        return -(angle - quarter * round(angle / quarter))

    def _advance(self, observation: NDArray[np.float32], aside_m: float, dz: float) -> None:
        """Go to the next stage when this one has done its work, or back when the object was lost."""
        held = observation[9] > 0 and observation[10] > 0
        if self.stage == "hover" and aside_m < ALIGNED_M and abs(self._turn(observation)) < 0.1:
            self.stage = "descend"
        elif self.stage == "descend" and abs(dz) < DEEP_ENOUGH_M and aside_m < ALIGNED_M:
            self.stage = "close"
        elif self.stage == "close":
            self._closing_steps += 1
            if held and self._closing_steps >= CLOSING_STEPS:
                self.stage = "lift"
            elif self._closing_steps > 4 * CLOSING_STEPS:
                self.reset()
        elif self.stage == "lift" and not held:
            self.reset()
