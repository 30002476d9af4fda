"""A scripted expert for `GraspEnv`: hover, descend, close, lift.

In: observations, a planned grasp, the object's rotation. Out: actions, [5] float32 in [-1, 1].
Must not know: PyBullet. The grasp (see `plan`) and the object's rotation use more information than a policy
has; all other inputs come from the observation, so that the episodes can serve as demonstrations.
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
"""Height above the grasp at which the gripper turns and aligns."""
ALIGNED_M, ALIGNED_RAD = 0.005, 0.06
DEEP_ENOUGH_M = 0.006
MOST_DESCEND_STEPS = 14
"""Steps after which the gripper closes anyway, because something blocks the fingers."""
CLOSING_STEPS = 4
MOST_CLOSING_STEPS = 12
RETREAT_STEPS = 5
LIFT_SPEED = 0.6
"""Fraction of the largest upward action; a faster lift can shake the object out of the fingers."""


class ScriptedGrasp:
    """A state machine with the stages hover, descend, close, lift and retreat; `reset` it in each episode.

    Args:
        plan: returns a grasp of the object in its current pose; called before each attempt.
        rotation: returns the object's current rotation, world_from_object.
    """

    def __init__(self, plan: Callable[[], Grasp], rotation: Callable[[], Rotation]) -> None:
        """Start in the stage hover."""
        self._plan, self._rotation = plan, rotation
        self.reset()

    def reset(self) -> None:
        """Return to the stage hover and discard the planned grasp."""
        self.stage = "hover"
        self._steps = 0
        self._grasp: Grasp | None = None

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the next action.

        Args:
            observation: [39] float32, see `actor.grasp.observation`.

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
        """Return the remaining motion to the grasp: a shift in the world frame (m) and a turn (rad)."""
        if self._grasp is None:
            return (0.0, 0.0, 0.0), 0.0
        values = observation.astype(np.float64)
        sine, cosine = float(values[3]), float(values[4])
        forward, side, below = values[12:15] * OFFSET_SCALE_M
        world_from_object = np.array(self._rotation()).reshape(3, 3)
        # The gripper points down, so y and z change sign between its frame and the world frame.
        offset = np.array((cosine * forward + sine * side, sine * forward - cosine * side, -below))
        dx, dy, dz = (offset + world_from_object @ self._grasp.point_m).tolist()
        ax, ay, _ = (world_from_object @ self._grasp.axis).tolist()
        yaw = math.atan2(sine, cosine)
        turn = math.atan2(ay, ax) + math.pi / 2 - yaw
        # Half a turn more or less gives the same grasp; the gripper can turn a quarter in either direction.
        turn -= math.pi * round((yaw + turn) / math.pi)
        return (dx, dy, dz), turn

    def _advance(self, observation: NDArray[np.float32], aside_m: float, dz: float, turn: float) -> None:
        """Go to the next stage when this one is complete, or back when the object is lost."""
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
