"""The Franka Panda arm: the pose of its gripper, and its motion under an action.

In: 5 numbers in [-1, 1] per control step. Out: motor commands to PyBullet, and the measured pose.
Must not know: the object, the task, Gymnasium.

The gripper always points straight down, so a pose is (x, y, z, yaw). An action moves the *commanded* pose,
which stays close to the actual one: otherwise pushing against the ground would accumulate motion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.grasp.engine import pybullet
from graspfleet.actor.grasp.observation import (
    FINGER_OPENING_M,
    GAP_MAX_M,
    NO_GAP,
    WIDE_GAP,
    WORKSPACE_HIGH_M,
    WORKSPACE_LOW_M,
    Gap,
    Rotation,
    Vector,
)
from graspfleet.actor.grasp.simulation import Simulation

HAND_LINK, EE_LINK = 8, 11
FINGER_JOINTS = (9, 10)
JOINTS = (0, 1, 2, 3, 4, 5, 6, *FINGER_JOINTS)

ACTION_TOLERANCE = 1e-6
STEP_M = 0.04
STEP_YAW_RAD = 0.3
LEAD_M = 0.06
"""Largest distance of the commanded position from the actual one."""
LEAD_YAW_RAD = 0.45
YAW_LIMIT_RAD = math.pi / 2
"""Largest yaw in either direction: a gripper with two fingers needs no more than half a turn in total."""
HAND_LIMIT_RAD = 2.96
"""Largest angle of joint 7, which ends at 2.967 rad. It costs 5 degrees of yaw at the nearest left corner."""

JOINT_FORCES = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
"""Largest torques, N m, from the robot's data sheet. With less, the arm lags and shakes objects loose."""
FINGER_FORCE_N = 20.0

# Lengths of the arm (m) in its vertical plane, from panda.urdf.
_SHOULDER_HEIGHT = 0.333
_UPPER, _FORE, _ELBOW_OFFSET = 0.316, 0.384, 0.0825
_WRIST_OFFSET = 0.088
_WRIST_ABOVE_GRASP = 0.107 + 0.105
_UPPER_2, _FORE_2 = _UPPER**2 + _ELBOW_OFFSET**2, _FORE**2 + _ELBOW_OFFSET**2
_UPPER_HYPOT, _FORE_HYPOT = math.sqrt(_UPPER_2), math.sqrt(_FORE_2)
_SHOULDER_BIAS = math.atan2(_ELBOW_OFFSET, _UPPER)
_ELBOW_BIAS = math.atan2(_UPPER, _ELBOW_OFFSET) + math.atan2(_FORE, _ELBOW_OFFSET) - 2 * math.pi


class Measurement(NamedTuple):
    """State of the gripper: position (m), world_from_gripper, velocity (m/s), finger opening (m)."""

    position: Vector
    rotation: Rotation
    velocity: Vector
    finger_width_m: float


def joints_for(x: float, y: float, z: float, yaw: float) -> tuple[float, ...]:
    """Return the 7 joint angles (rad) that put the grasp point at (x, y, z) with the gripper pointing down.

    With joints 3 and 5 held at zero, the arm moves in one vertical plane as two links and a wrist, so the
    angles follow from the law of cosines. This is exact, takes about 2 us, and depends only on the pose,
    whereas PyBullet's iterative solver with 5 iterations is off by centimeters for a step of 5 cm and lets
    the elbow drift.

    Args:
        x: meters, world frame, from the arm's base.
        y: meters.
        z: meters.
        yaw: radians about the vertical; at 0 the fingers open along the world's y axis.

    Raises:
        ValueError: the point is out of reach.
    """
    radius, height = math.hypot(x, y) - _WRIST_OFFSET, z + _WRIST_ABOVE_GRASP - _SHOULDER_HEIGHT
    reach_2 = radius * radius + height * height
    cos_elbow = (_UPPER_2 + _FORE_2 - reach_2) / (2 * _UPPER_HYPOT * _FORE_HYPOT)
    if not -1.0 < cos_elbow < 1.0:
        raise ValueError(f"the grasp point ({x:.3f}, {y:.3f}, {z:.3f}) m is out of the arm's reach")
    cos_shoulder = (_UPPER_2 + reach_2 - _FORE_2) / (2 * _UPPER_HYPOT * math.sqrt(reach_2))
    turn = math.atan2(y, x)
    shoulder = math.pi / 2 - math.atan2(height, radius) - math.acos(cos_shoulder) - _SHOULDER_BIAS
    elbow = math.acos(cos_elbow) + _ELBOW_BIAS
    hand = min(turn - yaw + math.pi / 4, HAND_LIMIT_RAD)
    return turn, shoulder, 0.0, elbow, 0.0, shoulder - elbow, hand


def checked_action(action: NDArray[np.float32]) -> list[float]:
    """Return the action as 5 floats in [-1, 1].

    Raises:
        ValueError: the shape is wrong, or a value is not finite or out of range by more than
            `ACTION_TOLERANCE`.
    """
    array = np.asarray(action)
    if array.shape != (5,):
        raise ValueError(f"the action must have the shape (5,), not {array.shape}")
    values: list[float] = array.tolist()
    limit = 1.0 + ACTION_TOLERANCE
    for value in values:
        if not -limit <= value <= limit:
            raise ValueError(f"the action {values} has {value}; each number must be finite and in [-1, 1]")
    return [min(max(value, -1.0), 1.0) for value in values]


class Panda:
    """The arm in one simulation, fixed to the ground at the world's origin.

    Args:
        simulation: the world to load it into.
    """

    def __init__(self, simulation: Simulation) -> None:
        """Load the model and couple its fingers."""
        self._client = simulation.client
        self.body = simulation.load_urdf("franka_panda/panda.urdf", fixed_base=True)
        self._gains = (simulation.preset.position_gain,) * len(JOINTS)
        self._forces = (*JOINT_FORCES, FINGER_FORCE_N, FINGER_FORCE_N)
        self._command: tuple[float, float, float, float] = (0.5, 0.0, 0.2, 0.0)
        self._couple_fingers()

    def _couple_fingers(self) -> None:
        # The real hand has one motor for both fingers. Two independent fingers hold an object with equal and
        # opposite forces, so nothing centers it and it slides sideways when the arm accelerates.
        gear = pybullet.createConstraint(
            self.body,
            FINGER_JOINTS[0],
            self.body,
            FINGER_JOINTS[1],
            jointType=pybullet.JOINT_GEAR,
            jointAxis=(1, 0, 0),
            parentFramePosition=(0, 0, 0),
            childFramePosition=(0, 0, 0),
            physicsClientId=self._client,
        )
        pybullet.changeConstraint(gear, gearRatio=-1, erp=0.2, maxForce=100, physicsClientId=self._client)

    def reset(self, x: float, y: float, z: float, yaw: float) -> None:
        """Place the arm at rest in a pose with the gripper open, and hold it there.

        Args:
            x: meters, world frame.
            y: meters.
            z: meters.
            yaw: radians.
        """
        angles = (*joints_for(x, y, z, yaw), FINGER_OPENING_M / 2, FINGER_OPENING_M / 2)
        pybullet.resetJointStatesMultiDof(
            self.body, JOINTS, [(angle,) for angle in angles], [(0.0,)] * 9, physicsClientId=self._client
        )
        self._command = (x, y, z, yaw)
        self._drive(1.0)

    def set_finger_force(self, newtons: float) -> None:
        """Limit the force of each finger, starting with the next action."""
        self._forces = (*JOINT_FORCES, newtons, newtons)

    def act(self, action: Sequence[float], now: Measurement) -> None:
        """Move the commanded pose by an action and drive the motors toward it.

        Args:
            action: 5 numbers in [-1, 1]: change of x, y, z (times `STEP_M`), change of yaw (times
                `STEP_YAW_RAD`), opening of the gripper (-1 closed .. 1 fully open).
            now: the measured pose, to which the commanded one stays close.
        """
        x, y, z, yaw = self._command
        x0, y0, z0 = now.position
        ahead_x = x + STEP_M * action[0] - x0
        ahead_y = y + STEP_M * action[1] - y0
        ahead_z = z + STEP_M * action[2] - z0
        distance = math.sqrt(ahead_x * ahead_x + ahead_y * ahead_y + ahead_z * ahead_z)
        shorten = LEAD_M / distance if distance > LEAD_M else 1.0
        yaw0 = math.atan2(now.rotation[3], now.rotation[0])
        ahead_yaw = min(max(yaw + STEP_YAW_RAD * action[3] - yaw0, -LEAD_YAW_RAD), LEAD_YAW_RAD)
        low, high = WORKSPACE_LOW_M, WORKSPACE_HIGH_M
        self._command = (
            min(max(x0 + ahead_x * shorten, low[0]), high[0]),
            min(max(y0 + ahead_y * shorten, low[1]), high[1]),
            min(max(z0 + ahead_z * shorten, low[2]), high[2]),
            min(max(yaw0 + ahead_yaw, -YAW_LIMIT_RAD), YAW_LIMIT_RAD),
        )
        self._drive(action[4])

    def _drive(self, gripper: float) -> None:
        finger = (gripper + 1.0) * (FINGER_OPENING_M / 4)
        pybullet.setJointMotorControlArray(
            self.body,
            JOINTS,
            pybullet.POSITION_CONTROL,
            targetPositions=(*joints_for(*self._command), finger, finger),
            positionGains=self._gains,
            forces=self._forces,
            physicsClientId=self._client,
        )

    def measure(self) -> Measurement:
        """Return the actual pose, velocity and finger opening."""
        client = self._client
        # The grasp point has no mass and no shape, so its pose is only current after forward kinematics.
        link = pybullet.getLinkState(self.body, EE_LINK, 1, 1, client)
        left, right = pybullet.getJointStates(self.body, FINGER_JOINTS, client)
        return Measurement(
            link[4], pybullet.getMatrixFromQuaternion(link[5]), link[6], float(left[0] + right[0])
        )

    def hand_poses(self) -> list[tuple[Vector, tuple[float, float, float, float]]]:
        """Return position (m) and quaternion of the hand, the left and the right finger, after `measure`."""
        links = pybullet.getLinkStates(self.body, (HAND_LINK, *FINGER_JOINTS), physicsClientId=self._client)
        return [link[4:6] for link in links]

    def touching(self, body: int) -> tuple[bool, bool]:
        """Return whether the left and the right finger touch `body`.

        PyBullet also lists pairs that are merely close to each other, hence the check for a force.
        """
        left = right = False
        for contact in pybullet.getContactPoints(self.body, body, physicsClientId=self._client):
            if contact[9] > 0.0:
                left = left or contact[3] == FINGER_JOINTS[0]
                right = right or contact[3] == FINGER_JOINTS[1]
        return left, right

    def gaps(self, body: int) -> tuple[Gap, Gap]:
        """Return the gaps between `body` and the left and the right finger."""
        left, right = (self._gap(body, finger) for finger in FINGER_JOINTS)
        return left, right

    def _gap(self, body: int, finger: int) -> Gap:
        points = pybullet.getClosestPoints(self.body, body, GAP_MAX_M, finger, physicsClientId=self._client)
        if not points:
            return WIDE_GAP
        nearest = min(points, key=itemgetter(8))
        if nearest[8] <= 0.0:
            return NO_GAP
        (ax, ay, az), (bx, by, bz) = nearest[5], nearest[6]
        return Gap(nearest[8], (bx - ax, by - ay, bz - az))
