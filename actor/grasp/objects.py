"""Objects on the table: named sets, from which each episode draws one.

In: the name of a set, a random generator. Out: an object model.
Must not know: the robot, the task, where an object is placed.

To add a set, add an entry to `OBJECT_SETS`; to add a kind of model, add a class with the attributes of
`ObjectModel`. Neither needs a change to the environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Protocol

import numpy as np

from graspfleet.actor.grasp.catalog import BROKEN_IDS, COUNT, RandomObject, catalog
from graspfleet.actor.grasp.primitives import Box, Color, Cylinder, random_edge
from graspfleet.actor.grasp.simulation import Simulation


class ObjectModel(Protocol):
    """Interface of an object for the environment.

    Models compare equal if they can share a loaded body, in which case the environment does not load another.
    """

    @property
    def name(self) -> str:
        """A short name for logs."""

    @property
    def extents_m(self) -> tuple[float, float, float]:
        """Edge lengths of the bounding box, object frame."""

    @property
    def middle_m(self) -> tuple[float, float, float]:
        """Middle of the bounding box, object frame; the frame's origin is the center of mass."""

    @property
    def rest_height_m(self) -> float:
        """Height of the object's frame above the table at rest."""

    @property
    def rest_quaternion(self) -> tuple[float, float, float, float]:
        """Orientation at rest, world_from_object, before the rotation about the vertical."""

    def load(self, simulation: Simulation) -> int:
        """Create the body in `simulation` and return its id."""


CUBE = Box(
    name="cube",
    extents_m=(0.04, 0.04, 0.04),
    mass_kg=0.1,
    friction=1.0,
    spinning_friction=0.005,
    rgba=(0.85, 0.25, 0.2, 1.0),
)
SMALLEST_M, LARGEST_M = 0.025, 0.06
"""Range of the edges and diameters of primitives; the fingers open 8 cm."""
COLORS: tuple[Color, ...] = (
    (0.85, 0.25, 0.20, 1.0),
    (0.95, 0.61, 0.07, 1.0),
    (0.16, 0.63, 0.38, 1.0),
    (0.16, 0.45, 0.80, 1.0),
    (0.56, 0.27, 0.68, 1.0),
    (0.10, 0.67, 0.70, 1.0),
)

Sampler = Callable[[np.random.Generator], ObjectModel]


def draw_cube(_: np.random.Generator) -> Box:
    """Return the cube."""
    return CUBE


def draw_primitive(rng: np.random.Generator) -> Box | Cylinder:
    """Return a box or a cylinder with equal probability, with uniformly drawn dimensions."""
    kind, color, *samples = rng.random(5).tolist()
    x, y, z = (random_edge(sample, SMALLEST_M, LARGEST_M) for sample in samples)
    rgba = COLORS[int(color * len(COLORS))]
    surface = CUBE.mass_kg, CUBE.friction, CUBE.spinning_friction, rgba
    return Box("box", (x, y, z), *surface) if kind < 0.5 else Cylinder("cylinder", x, z, *surface)


RANDOM_SETS: Mapping[str, Callable[[RandomObject], bool]] = MappingProxyType(
    {
        "random": lambda model: not model.held_out,
        "random-heldout": lambda model: model.held_out,
        "random-feasible": lambda model: not model.held_out and model.feasible,
        "random-heldout-feasible": lambda model: model.held_out and model.feasible,
    }
)
"""Name of a set -> whether a random object belongs to it."""


def random_objects(name: str) -> list[RandomObject]:
    """Return the objects of one of the `RANDOM_SETS`, ordered by id."""
    return [model for model in catalog().values() if RANDOM_SETS[name](model)]


def draw_random(name: str) -> Sampler:
    """Return the sampler of one of the `RANDOM_SETS`."""
    models = random_objects(name)
    return lambda rng: models[rng.integers(len(models))]


OBJECT_SETS: Mapping[str, Callable[[], Sampler]] = MappingProxyType(
    {
        "cube": lambda: draw_cube,
        "primitives": lambda: draw_primitive,
        **{name: partial(draw_random, name) for name in RANDOM_SETS},
    }
)
"""Name of a set -> factory of its sampler; called on demand, so that the cube does not load the catalog."""


def object_set(name: str) -> Sampler:
    """Return the function that draws an object of a set.

    Args:
        name: a key of `OBJECT_SETS`, or `random:ID` for a single random object.

    Raises:
        ValueError: there is no such set or object; the message lists the allowed ones.
    """
    kind, colon, number = str(name).partition(":")
    if kind == "random" and colon:
        if not (number.isdecimal() and int(number) in catalog()):
            broken = ", ".join(map(str, sorted(BROKEN_IDS)))
            raise ValueError(
                f"objects={name!r}: there is no object {number!r}; "
                f"allowed: ids 0 to {COUNT - 1} except {broken}, whose mesh file is broken"
            )
        model = catalog()[int(number)]
        return lambda _: model
    if name not in OBJECT_SETS:
        raise ValueError(f"objects={name!r} is unknown; allowed: {', '.join(OBJECT_SETS)}, random:ID")
    return OBJECT_SETS[name]()
