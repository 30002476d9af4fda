"""Objects described by a few numbers: boxes and cylinders.

In: a simulation. Out: the body id of a loaded object.
Must not know: the robot, the task, where an object is placed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from graspfleet.actor.grasp.engine import pybullet
from graspfleet.actor.grasp.simulation import Simulation

CENTER = (0.0, 0.0, 0.0)
UPRIGHT = (0.0, 0.0, 0.0, 1.0)
Color = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A solid cuboid of uniform density that rests on its bottom face.

    Attributes:
        name: for logs.
        extents_m: edge lengths.
        mass_kg: mass; the inertia follows from it.
        friction: Coulomb coefficient; PyBullet multiplies those of the two bodies (a fingertip has 1.0).
        spinning_friction: meters; resists rotation about the contact normal.
        rgba: its color in images.
    """

    name: str
    extents_m: tuple[float, float, float]
    mass_kg: float
    friction: float
    spinning_friction: float
    rgba: Color

    @property
    def middle_m(self) -> tuple[float, float, float]:
        """Middle of the bounding box: the origin of the frame."""
        return CENTER

    @property
    def rest_height_m(self) -> float:
        """Half of the height, since the frame's origin is at the center."""
        return self.extents_m[2] / 2

    @property
    def rest_quaternion(self) -> tuple[float, float, float, float]:
        """Orientation at rest: upright."""
        return UPRIGHT

    @property
    def inertia_kg_m2(self) -> tuple[float, float, float]:
        """Principal moments of a homogeneous cuboid."""
        x, y, z = (edge * edge for edge in self.extents_m)
        factor = self.mass_kg / 12
        return factor * (y + z), factor * (x + z), factor * (x + y)

    def load(self, simulation: Simulation) -> int:
        """Create the body in `simulation` and return its id."""
        half = [edge / 2 for edge in self.extents_m]
        return _load(self, simulation, pybullet.GEOM_BOX, {"halfExtents": half}, {"halfExtents": half})


@dataclass(frozen=True, slots=True)
class Cylinder:
    """A solid cylinder of uniform density that rests on its end.

    Attributes:
        name: for logs.
        diameter_m: diameter.
        height_m: length along its axis.
        mass_kg: mass; the inertia follows from it.
        friction: as `Box.friction`.
        spinning_friction: as `Box.spinning_friction`.
        rgba: its color in images.
    """

    name: str
    diameter_m: float
    height_m: float
    mass_kg: float
    friction: float
    spinning_friction: float
    rgba: Color

    @property
    def extents_m(self) -> tuple[float, float, float]:
        """Edge lengths of the bounding box."""
        return self.diameter_m, self.diameter_m, self.height_m

    @property
    def middle_m(self) -> tuple[float, float, float]:
        """Middle of the bounding box: the origin of the frame."""
        return CENTER

    @property
    def rest_height_m(self) -> float:
        """Half of the height, since the frame's origin is at the center."""
        return self.height_m / 2

    @property
    def rest_quaternion(self) -> tuple[float, float, float, float]:
        """Orientation at rest: upright."""
        return UPRIGHT

    @property
    def inertia_kg_m2(self) -> tuple[float, float, float]:
        """Principal moments of a homogeneous cylinder about z."""
        radius_2 = self.diameter_m**2 / 4
        across = self.mass_kg * (3 * radius_2 + self.height_m**2) / 12
        return across, across, self.mass_kg * radius_2 / 2

    def load(self, simulation: Simulation) -> int:
        """Create the body in `simulation` and return its id."""
        radius = self.diameter_m / 2
        felt, seen = {"radius": radius, "height": self.height_m}, {"radius": radius, "length": self.height_m}
        return _load(self, simulation, pybullet.GEOM_CYLINDER, felt, seen)


def _load(
    model: Box | Cylinder, simulation: Simulation, kind: int, felt: dict[str, Any], seen: dict[str, Any]
) -> int:
    client = simulation.client
    shape, visual = pybullet.createCollisionShape(kind, physicsClientId=client, **felt), -1
    if simulation.visuals:
        visual = pybullet.createVisualShape(kind, rgbaColor=model.rgba, physicsClientId=client, **seen)
    # Load it near its later position, so that the saved state has it in the same part of the broad phase.
    position = (0.5, 0.0, model.rest_height_m)
    body: int = pybullet.createMultiBody(
        model.mass_kg, shape, visual, basePosition=position, physicsClientId=client
    )
    pybullet.changeDynamics(
        body,
        -1,
        lateralFriction=model.friction,
        spinningFriction=model.spinning_friction,
        localInertiaDiagonal=model.inertia_kg_m2,
        physicsClientId=client,
    )
    return body


def random_edge(sample: float, low_m: float, high_m: float) -> float:
    """Return a length between the two bounds, rounded to 0.1 mm so that names and logs can show it.

    Args:
        sample: 0 to 1.
        low_m: length for 0.
        high_m: length for 1.
    """
    return math.floor((low_m + sample * (high_m - low_m)) * 1e4 + 0.5) / 1e4
