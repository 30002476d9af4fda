"""The 1,000 random objects that come with PyBullet, with measurements of each.

In: an id, 0 to 999, and `data/random_objects.csv`. Out: models for the object sets of `objects`.
Must not know: the robot, the task, where an object is placed.

The rest pose and size of an object, and whether the scripted expert can lift it, never change, so
`python -m graspfleet.actor.grasp.survey` measures them once. A reset then neither reads meshes nor waits for
an object to come to rest.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from graspfleet.actor.grasp.engine import pybullet
from graspfleet.actor.grasp.simulation import Simulation

COUNT = 1000
BROKEN_IDS = frozenset({168})
"""Objects whose mesh file holds NaN instead of coordinates; PyBullet loads a 6 mm speck."""
HELD_OUT_EVERY = 10
"""Objects whose id is a multiple of this are never used in training."""
FILE = "random_objects.csv"
MASS_KG = 0.1
FRICTION = 1.0
SPINNING_FRICTION_M = 0.005


@dataclass(frozen=True, slots=True)
class RandomObject:
    """One object of pybullet_data/random_urdfs, with its rest pose.

    Attributes:
        object_id: 0 to 999, the name of its folder.
        extents_m: edge lengths of the bounding box, object frame.
        middle_m: middle of that box, object frame; PyBullet uses the frame's origin as the center of mass.
        rest_height_m: height of the object frame above the ground at rest.
        rest_quaternion: world_from_object at rest, before the rotation about the vertical.
        lifted_at_try: number of the first of the survey's 10 tries in which the scripted expert lifted it;
            0 if there was none.
    """

    object_id: int
    extents_m: tuple[float, float, float]
    middle_m: tuple[float, float, float]
    rest_height_m: float
    rest_quaternion: tuple[float, float, float, float]
    lifted_at_try: int

    @property
    def name(self) -> str:
        """Name for logs; also the name of the set that holds only this object."""
        return f"random:{self.object_id}"

    @property
    def feasible(self) -> bool:
        """True if the scripted expert has lifted it."""
        return self.lifted_at_try > 0

    @property
    def held_out(self) -> bool:
        """True if it is reserved for evaluation."""
        return self.object_id % HELD_OUT_EVERY == 0

    def load(self, simulation: Simulation) -> int:
        """Create the body in `simulation` and return its id.

        Raises:
            FileNotFoundError: this installation of pybullet_data does not include the object.
        """
        return load_random_object(simulation, self.object_id, self.rest_height_m, self.rest_quaternion)


def load_random_object(
    simulation: Simulation,
    object_id: int,
    height_m: float,
    quaternion: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0),
) -> int:
    """Create one of the random objects and return its body id; see `RandomObject.load`.

    The inertia in the file, 1 kg m² for 0.1 kg, needs no correction: PyBullet computes it from the shape.
    """
    path = f"random_urdfs/{object_id:03d}/{object_id:03d}.urdf"
    body = simulation.load_urdf(path, position=(0.5, 0.0, height_m), quaternion=quaternion)
    pybullet.changeDynamics(
        body,
        -1,
        lateralFriction=FRICTION,
        spinningFriction=SPINNING_FRICTION_M,
        physicsClientId=simulation.client,
    )
    return body


@cache
def catalog() -> dict[int, RandomObject]:
    """Return every usable object by its id."""
    lines = files("graspfleet.actor.grasp").joinpath("data", FILE).read_text().splitlines()
    return {int(row["id"]): _model(row) for row in csv.DictReader(lines)}


def _model(row: dict[str, str]) -> RandomObject:
    x, y, z, mx, my, mz, height, qx, qy, qz, qw = (float(row[name]) for name in COLUMNS[1:-1])
    tries = int(row["lifted_at_try"])
    return RandomObject(int(row["id"]), (x, y, z), (mx, my, mz), height, (qx, qy, qz, qw), tries)


COLUMNS = (
    *("id", "x_m", "y_m", "z_m", "middle_x_m", "middle_y_m", "middle_z_m"),
    *("rest_height_m", "qx", "qy", "qz", "qw", "lifted_at_try"),
)
