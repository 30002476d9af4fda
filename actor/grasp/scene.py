"""The simulated scene: one world with the arm and one object.

In: an object model and poses, then actions. Out: a `GraspState` after each step.
Must not know: rewards, observations, episodes, random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from graspfleet.actor.grasp import visuals
from graspfleet.actor.grasp.engine import pybullet
from graspfleet.actor.grasp.objects import ObjectModel
from graspfleet.actor.grasp.observation import (
    FINGER_OPENING_M,
    GAP_MAX_M,
    NO_GAP,
    WIDE_GAP,
    GraspState,
    Rotation,
    Vector,
)
from graspfleet.actor.grasp.primitives import UPRIGHT
from graspfleet.actor.grasp.robot import Measurement, Panda
from graspfleet.actor.grasp.simulation import PhysicsPreset, Simulation, UnstableSimulationError

LOADS_PER_WORLD = 64
"""Number of loaded objects after which the world is replaced: PyBullet keeps about 70 KB per loaded mesh
until the client disconnects. A new world takes 40 ms, which is less than 1 ms per episode."""
AWAY_M = (0.0, 0.0, 3.0)
"""Position at which an object touches nothing."""
UNSTABLE_ABOVE = 50.0
"""Bound on the sum of all speeds (m/s) and distances (m), far above that of a stable simulation."""


BodyPose = tuple[Vector, tuple[float, float, float, float]]
"""Position (m) and quaternion of a frame in the world."""


class Poses(NamedTuple):
    """Poses of the bodies that a camera at the hand sees; those of the hand are of its links' frames."""

    object: BodyPose
    hand: BodyPose
    left_finger: BodyPose
    right_finger: BodyPose


class Scene:
    """The arm and one object; the state after a `reset` does not depend on anything before it, bit for bit.

    Args:
        preset: physics of a control step.
        gui: open a window.
        visuals: load visual shapes, too.

    Attributes:
        simulation: the world; `rebuild` replaces it, and so does `reset` after `LOADS_PER_WORLD` objects.
        robot: the arm in it.
        body: id of the object's body; -1 before the first `reset`.
    """

    def __init__(self, preset: PhysicsPreset, *, gui: bool, visuals: bool) -> None:
        """Build the first world."""
        self._preset, self._gui, self._visuals = preset, gui, visuals
        self._build()

    def _build(self) -> None:
        self.simulation = Simulation(self._preset, gui=self._gui, visuals=self._visuals)
        self.robot = Panda(self.simulation)
        if self.simulation.visuals:
            visuals.decorate(self.simulation, self.robot.body)
        self.body = -1
        self._model: ObjectModel | None = None
        self._nominal: tuple[float, Vector, float] = (0.0, (0.0, 0.0, 0.0), 0.0)
        self._gaps_within_m = 0.0
        self._loads = 0
        self._gripper_command = 1.0
        self._rest_height_m = 0.0
        self._measured: Measurement = self.robot.measure()

    @property
    def object_name(self) -> str:
        """Name of the object; empty before the first `reset`."""
        return "" if self._model is None else self._model.name

    def reset(
        self, model: ObjectModel, pose: tuple[float, float, float], start: tuple[float, float, float, float]
    ) -> None:
        """Start over with `model` and the arm at rest and the gripper open.

        Args:
            model: the object.
            pose: x (m), y (m) and yaw (rad) of the object.
            start: x (m), y (m), z (m) and yaw (rad) of the grasp point.
        """
        if model != self._model:
            self._load(model)
        self.simulation.restore()
        self.robot.reset(*start)
        self._gripper_command = 1.0
        self._forget_contacts()
        x, y, yaw = pose
        upright = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
        position, quaternion = pybullet.multiplyTransforms(
            (x, y, model.rest_height_m), upright, (0.0, 0.0, 0.0), model.rest_quaternion
        )
        pybullet.resetBasePositionAndOrientation(
            self.body, position, quaternion, physicsClientId=self.simulation.client
        )
        self._rest_height_m = model.rest_height_m

    def _forget_contacts(self) -> None:
        # Restoring keeps the narrow phase's cache for each pair of bodies, such as the last separating axis.
        # Only the pair of object and ground persists across a reset; separating the two discards its cache.
        client = self.simulation.client
        pybullet.resetBasePositionAndOrientation(self.body, AWAY_M, UPRIGHT, physicsClientId=client)
        pybullet.performCollisionDetection(client)

    def _load(self, model: ObjectModel) -> None:
        if self._loads >= LOADS_PER_WORLD:
            self.rebuild()
        simulation = self.simulation
        if self._model is not None:  # load from the same state, whatever the last episode was
            simulation.restore()
            pybullet.removeBody(self.body, physicsClientId=simulation.client)
            self._model = None  # a load that fails leaves the scene without an object
        self.body = model.load(simulation)
        self._model = model
        self._loads += 1
        mass, friction, inertia = pybullet.getDynamicsInfo(self.body, -1, simulation.client)[:3]
        self._nominal = mass, inertia, friction
        # Beyond this distance no finger can be near the object, and the search for gaps is skipped.
        self._gaps_within_m = math.hypot(*model.extents_m) / 2 + FINGER_OPENING_M / 2 + 2 * GAP_MAX_M
        simulation.save()

    def set_dynamics(self, mass_factor: float, friction_factor: float, finger_force_n: float) -> None:
        """Scale the object's mass and friction, and limit the fingers' force, until the next call.

        Args:
            mass_factor: factor of the model's mass and inertia.
            friction_factor: factor of the model's friction coefficient.
            finger_force_n: largest force of each finger.
        """
        mass, inertia, friction = self._nominal
        pybullet.changeDynamics(
            self.body,
            -1,
            mass=mass * mass_factor,
            localInertiaDiagonal=[moment * mass_factor for moment in inertia],
            lateralFriction=friction * friction_factor,
            physicsClientId=self.simulation.client,
        )
        self.robot.set_finger_force(finger_force_n)

    def step(self, action: Sequence[float]) -> None:
        """Take an action, 5 numbers in [-1, 1], and simulate one control step."""
        self.robot.act(action, self._measured)
        self._gripper_command = action[4]
        self.simulation.step()

    def read(self) -> GraspState:
        """Return the current state.

        Raises:
            UnstableSimulationError: the state is not finite or has exploded.
        """
        client, body = self.simulation.client, self.body
        measured = self._measured = self.robot.measure()
        position, quaternion = pybullet.getBasePositionAndOrientation(body, client)
        velocity, _ = pybullet.getBaseVelocity(body, client)
        left, right = self.robot.touching(body)
        left_gap = right_gap = WIDE_GAP
        if left and right:
            left_gap = right_gap = NO_GAP
        elif math.dist(position, measured.position) < self._gaps_within_m:
            left_gap, right_gap = self.robot.gaps(body)
        # A sum is not finite if one of its parts is not, and NaN fails every comparison.
        parts = (*velocity, *position, *measured.velocity, *measured.position, *quaternion)
        if not sum(map(abs, parts)) < UNSTABLE_ABOVE:
            raise UnstableSimulationError(
                f"object at {position} m moving at {velocity} m/s, "
                f"gripper at {measured.position} m moving at {measured.velocity} m/s"
            )
        assert self._model is not None
        return GraspState(
            measured.position,
            measured.rotation,
            measured.velocity,
            measured.finger_width_m,
            left,
            right,
            left_gap,
            right_gap,
            self._gripper_command,
            position,
            pybullet.getMatrixFromQuaternion(quaternion),
            velocity,
            position[2] - self._rest_height_m,
            self._model.extents_m,
            self._model.middle_m,
        )

    def poses(self) -> Poses:
        """Return the poses after the last `read`."""
        position, quaternion = pybullet.getBasePositionAndOrientation(self.body, self.simulation.client)
        return Poses((position, quaternion), *self.robot.hand_poses())

    @property
    def model(self) -> ObjectModel:
        """The object on the table; there is none before the first `reset`."""
        assert self._model is not None
        return self._model

    def object_rotation(self) -> Rotation:
        """Return the object's current rotation, world_from_object."""
        _, quaternion = pybullet.getBasePositionAndOrientation(self.body, self.simulation.client)
        rotation: Rotation = pybullet.getMatrixFromQuaternion(quaternion)
        return rotation

    def rebuild(self) -> None:
        """Build a new world with the same settings; call `reset` next."""
        self.close()
        self._build()

    def close(self) -> None:
        """Free the world; further calls have no effect."""
        self.simulation.close()
