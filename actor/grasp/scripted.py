"""A scripted expert for `GraspEnv`: hover, descend, close, lift.

In: observations, and a grasp that somebody planned. Out: actions, [5] float32 in [-1, 1].
Must not know: PyBullet. Where to take hold is planned from more than a policy knows (`plan`), and so is how
the object has turned since; all else is read from what a policy reads, so its episodes can serve as
demonstrations.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.grasp.observation import OFFSET_SCALE_M, Rotation, Vector
from graspfleet.actor.grasp.plan import Grasp
from graspfleet.actor.grasp.robot import STEP_M, STEP_YAW_RAD

HOVER_M = 0.08
"""Height above the place to take hold at which it turns and aligns."""
ALIGNED_M, ALIGNED_RAD = 0.005, 0.06
DEEP_ENOUGH_M = 0.006
MOST_DESCEND_STEPS = 14
"""After so many it closes anyway: something is in the way of the fingers."""
CLOSING_STEPS = 4
MOST_CLOSING_STEPS = 12
RETREAT_STEPS = 5
LIFT_SPEED = 0.6
"""Of the largest upward action. Gently: a jerk can shake the object out of the fingers."""


class ScriptedGrasp:
    """A small state machine over hover, descend, close and lift; `reset` it with every episode.

    Args:
        plan: returns where to take hold of the object as it lies now; asked before each attempt.
        rotation: returns how the object is turned now, world_from_object.
    """

    def __init__(self, plan: Callable[[], Grasp], rotation: Callable[[], Rotation]) -> None:
        """Start with the approach."""
        self._plan, self._rotation = plan, rotation
        self.reset()

    def reset(self) -> None:
        """Forget the episode."""
        self.stage = "hover"
        self._steps = 0
        self._grasp: Grasp | None = None

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the next action.

        Args:
            observation: [39] float32, as `actor.grasp.observation.encode` lays it out.

        Returns:
            [5] float32 in [-1, 1].
        """
        if self._grasp is None and self.stage == "hover":
            self._grasp = self._plan()
        (dx, dy, dz), turn = self._errors(observation)
        self._advance(observation, math.hypot(dx, dy), dz, turn)
        gripper = -1.0 if self.stage in ("close", "lift") else 1.0
        if self.stage == "hover":
            dz += HOVER_M
        elif self.stage == "descend":
            dz *= min(1.0, ALIGNED_M / max(math.hypot(dx, dy), 1e-6))
        elif self.stage == "close":
            dx = dy = dz = turn = 0.0
        elif self.stage in ("lift", "retreat"):
            dx = dy = turn = 0.0
            dz = LIFT_SPEED * STEP_M
        action = (dx / STEP_M, dy / STEP_M, dz / STEP_M, turn / STEP_YAW_RAD, gripper)
        return np.array([min(max(part, -1.0), 1.0) for part in action], dtype=np.float32)

    def _errors(self, observation: NDArray[np.float32]) -> tuple[Vector, float]:
        """Return what is missing to the grasp: a shift in the world's frame, m, and a turn, rad."""
        if self._grasp is None:
            return (0.0, 0.0, 0.0), 0.0
        values = observation.astype(np.float64)
        sine, cosine = float(values[3]), float(values[4])
        forward, side, below = values[12:15] * OFFSET_SCALE_M
        world_from_object = np.array(self._rotation()).reshape(3, 3)
        # The gripper points down: from its frame to the world's, y and z change sign.
        offset = np.array((cosine * forward + sine * side, sine * forward - cosine * side, -below))
        dx, dy, dz = (offset + world_from_object @ self._grasp.point_m).tolist()
        ax, ay, _ = (world_from_object @ self._grasp.axis).tolist()
        yaw = math.atan2(sine, cosine)
        turn = math.atan2(ay, ax) + math.pi / 2 - yaw
        # Half a turn more or less is the same grasp; the gripper turns a quarter either way.
        turn -= math.pi * round((yaw + turn) / math.pi)
        return (dx, dy, dz), turn

    def _advance(self, observation: NDArray[np.float32], aside_m: float, dz: float, turn: float) -> None:
        """Go to the next stage when this one has done its work, or back when the object was lost."""
        held = observation[9] > 0 and observation[10] > 0
        self._steps += 1
        if self.stage == "hover" and aside_m < ALIGNED_M and abs(turn) < ALIGNED_RAD:
            self._go_to("descend")
        elif self.stage == "descend" and (abs(dz) < DEEP_ENOUGH_M or self._steps > MOST_DESCEND_STEPS):
            self._go_to("close")
        elif self.stage == "close" and held and self._steps >= CLOSING_STEPS:
            self._go_to("lift")
        elif (self.stage == "close" and self._steps > MOST_CLOSING_STEPS) or (
            self.stage == "lift" and not held
        ):
            self._go_to("retreat")
        elif self.stage == "retreat" and self._steps > RETREAT_STEPS:
            self.reset()

    def _go_to(self, stage: str) -> None:
        self.stage, self._steps = stage, 0
