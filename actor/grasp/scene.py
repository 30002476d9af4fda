"""The simulated scene: one world with the arm and one object, between two resets.

In: an object model and poses, then actions. Out: a `GraspState` after each step.
Must not know: rewards, observations, episodes, random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

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
"""Objects loaded before the world is replaced: PyBullet keeps about 70 KB per loaded mesh until its world
ends. A new world takes 40 ms, under 1 ms per episode."""
AWAY_M = (0.0, 0.0, 3.0)
"""Position at which an object touches nothing."""
UNSTABLE_ABOVE = 50.0
"""Bound on the sum of all speeds (m/s) and distances (m), far above that of a stable simulation."""


class Scene:
    """The arm and one object; a `reset` gives the same bits whatever happened before.

    Args:
        preset: how a control step is simulated.
        gui: open a window.
        visuals: load what is seen as well as what is felt.

    Attributes:
        simulation: the world; another one after `rebuild`, or when `reset` found the old one full.
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
        """Begin anew with `model` lying still and the arm at rest, its gripper open.

        Args:
            model: the object.
            pose: its x (m), y (m) and yaw (rad).
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
        # Restoring leaves what the narrow phase remembers of each pair, such as the last separating axis.
        # Only the pair of object and ground outlives a reset; once apart, it is made anew.
        client = self.simulation.client
        pybullet.resetBasePositionAndOrientation(self.body, AWAY_M, UPRIGHT, physicsClientId=client)
        pybullet.performCollisionDetection(client)

    def _load(self, model: ObjectModel) -> None:
        if self._loads >= LOADS_PER_WORLD:
            self.rebuild()
        simulation = self.simulation
        if self._model is not None:  # from the same state whatever the last episode was
            simulation.restore()
            pybullet.removeBody(self.body, physicsClientId=simulation.client)
            self._model = None  # a load that fails leaves the scene without an object
        self.body = model.load(simulation)
        self._model = model
        self._loads += 1
        mass, friction, inertia = pybullet.getDynamicsInfo(self.body, -1, simulation.client)[:3]
        self._nominal = mass, inertia, friction
        # Farther apart than this, no finger can be near the object: the search for gaps is spared.
        self._gaps_within_m = math.hypot(*model.extents_m) / 2 + FINGER_OPENING_M / 2 + 2 * GAP_MAX_M
        simulation.save()

    def set_dynamics(self, mass_factor: float, friction_factor: float, finger_force_n: float) -> None:
        """Change how heavy and how rough the object is, and how hard the fingers press, until changed again.

        Args:
            mass_factor: of the model's own mass and inertia.
            friction_factor: of the model's own friction coefficient.
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
        """Return the present state.

        Raises:
            UnstableSimulationError: it is not finite or has exploded.
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
        # A sum is not finite as soon as one of its parts is not, and NaN fails every comparison.
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

    def object_rotation(self) -> Rotation:
        """Return how the object is turned now, world_from_object."""
        _, quaternion = pybullet.getBasePositionAndOrientation(self.body, self.simulation.client)
        rotation: Rotation = pybullet.getMatrixFromQuaternion(quaternion)
        return rotation

    def rebuild(self) -> None:
        """Begin a new world with the same settings; `reset` comes next."""
        self.close()
        self._build()

    def close(self) -> None:
        """Free the world; calling it again does nothing."""
        self.simulation.close()
