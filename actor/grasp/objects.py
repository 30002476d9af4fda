"""What lies on the ground: object models and the named sets they are drawn from.

Enters: the name of a set, a random generator, a simulation.
Leaves: a model, and the body id of a loaded one.
Must not know: the robot, the task, where an object is placed.

A new set is one more entry of `OBJECT_SETS`; a new kind of model is one more class with the attributes of
`ObjectModel`. The environment needs no change for either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from actor.grasp.engine import pybullet
from actor.grasp.simulation import Simulation


class ObjectModel(Protocol):
    """What the environment needs to know about an object.

    Models compare equal when one loaded body can stand for both; the environment then loads nothing.
    """

    @property
    def name(self) -> str:
        """A short name for logs."""

    @property
    def extents_m(self) -> tuple[float, float, float]:
        """Edge lengths of the bounding box in the object's own frame."""

    @property
    def spawn_height_m(self) -> float:
        """Height of the object's frame above the ground at which it is put down."""

    @property
    def settle_steps(self) -> int:
        """Control steps to wait until it lies still; 0 for a shape that is put down at rest."""

    def load(self, simulation: Simulation) -> int:
        """Create the body in `simulation` and return its id."""


@dataclass(frozen=True, slots=True)
class Box:
    """A solid cuboid of even density, put down on its bottom face.

    Attributes:
        name: for logs.
        extents_m: edge lengths.
        mass_kg: mass; the inertia follows from it.
        friction: Coulomb coefficient; PyBullet multiplies those of the two bodies (a fingertip has 1.0).
        spinning_friction: metres; resists turning about the contact normal.
        rgba: its colour in pictures.
    """

    name: str
    extents_m: tuple[float, float, float]
    mass_kg: float
    friction: float
    spinning_friction: float
    rgba: tuple[float, float, float, float]

    @property
    def spawn_height_m(self) -> float:
        """Half of the height: the frame is at the centre."""
        return self.extents_m[2] / 2

    @property
    def settle_steps(self) -> int:
        """0: it is put down at rest."""
        return 0

    @property
    def inertia_kg_m2(self) -> tuple[float, float, float]:
        """Principal moments of a homogeneous cuboid."""
        x, y, z = (edge * edge for edge in self.extents_m)
        factor = self.mass_kg / 12
        return factor * (y + z), factor * (x + z), factor * (x + y)

    def load(self, simulation: Simulation) -> int:
        """Create the body in `simulation` and return its id."""
        client = simulation.client
        half = [edge / 2 for edge in self.extents_m]
        shape = pybullet.createCollisionShape(pybullet.GEOM_BOX, halfExtents=half, physicsClientId=client)
        visual = -1
        if simulation.visuals:
            visual = pybullet.createVisualShape(
                pybullet.GEOM_BOX, halfExtents=half, rgbaColor=self.rgba, physicsClientId=client
            )
        body: int = pybullet.createMultiBody(
            self.mass_kg, shape, visual, basePosition=(0.5, 0.0, half[2]), physicsClientId=client
        )
        pybullet.changeDynamics(
            body,
            -1,
            lateralFriction=self.friction,
            spinningFriction=self.spinning_friction,
            localInertiaDiagonal=self.inertia_kg_m2,
            physicsClientId=client,
        )
        return body


CUBE = Box(
    name="cube",
    extents_m=(0.04, 0.04, 0.04),
    mass_kg=0.1,
    friction=1.0,
    spinning_friction=0.005,
    rgba=(0.85, 0.25, 0.2, 1.0),
)

Sampler = Callable[[np.random.Generator], ObjectModel]


def _always_cube(_: np.random.Generator) -> ObjectModel:
    return CUBE


OBJECT_SETS: Mapping[str, Sampler] = MappingProxyType({"cube": _always_cube})


def object_set(name: str) -> Sampler:
    """Return the function that draws an object of the set called `name`.

    Raises:
        ValueError: there is no such set; the message lists those there are.
    """
    if name not in OBJECT_SETS:
        raise ValueError(f"objects={name!r} is not known; allowed: {', '.join(OBJECT_SETS)}")
    return OBJECT_SETS[name]
