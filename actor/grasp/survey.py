"""`python -m graspfleet.actor.grasp.survey`: measure the random objects once, for `catalog`.

In: the meshes that come with PyBullet. Out: `data/random_objects.csv`, and a summary on the terminal.
Must not know: policies, learners, sockets.

The rest pose is found by placing an object in its file's orientation and simulating until it is still. An
object is feasible if the scripted expert lifts it at least once, with the default physics.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pybullet_data
from rich.progress import track

from graspfleet.actor.grasp import catalog
from graspfleet.actor.grasp.catalog import COLUMNS, RandomObject, load_random_object
from graspfleet.actor.grasp.engine import pybullet
from graspfleet.actor.grasp.env import GraspEnv
from graspfleet.actor.grasp.expert import play
from graspfleet.actor.grasp.simulation import Simulation, physics_preset

TRIES = 10
MESH_SCALE = 0.015
"""Meters per unit, the same in all mesh files."""
DROP_M = 0.003
LONGEST_STEPS, SHORTEST_STEPS = 200, 10
STILL_M_S, STILL_RAD_S = 1e-4, 1e-3


def lay_down(object_id: int) -> RandomObject:
    """Return one object with its rest pose; the expert has not tried it yet."""
    path = Path(pybullet_data.getDataPath()) / f"random_urdfs/{object_id:03d}/{object_id:03d}.obj"
    lines = path.read_text().splitlines()
    vertices = np.array([line.split()[1:4] for line in lines if line.startswith("v ")], float) * MESH_SCALE
    simulation = Simulation(physics_preset("default"))
    body = load_random_object(simulation, object_id, DROP_M - float(vertices[:, 2].min()))
    for step in range(LONGEST_STEPS):
        simulation.step()
        linear, angular = pybullet.getBaseVelocity(body, simulation.client)
        still = max(map(abs, linear)) < STILL_M_S and max(map(abs, angular)) < STILL_RAD_S
        if step >= SHORTEST_STEPS and still:
            break
    position, quaternion = pybullet.getBasePositionAndOrientation(body, simulation.client)
    simulation.close()
    low, high = vertices.min(0), vertices.max(0)
    (x, y, z), (mx, my, mz) = (high - low).tolist(), ((high + low) / 2).tolist()
    return RandomObject(object_id, (x, y, z), (mx, my, mz), position[2], quaternion, lifted_at_try=0)


def tries_needed(object_id: int, tries: int) -> int:
    """Return the number of the first episode that ends with the scripted expert holding the object up.

    Args:
        object_id: 0 to 999.
        tries: largest number of episodes.

    Returns:
        1 to `tries`; 0 if there is no such episode.
    """
    env = GraspEnv(objects=f"random:{object_id}")
    needed = next((seed + 1 for seed in range(tries) if play(env, seed).success), 0)
    env.close()
    return needed


def write(models: list[RandomObject], path: Path) -> None:
    """Write the catalog file."""
    with path.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for model in models:
            numbers = (*model.extents_m, *model.middle_m, model.rest_height_m, *model.rest_quaternion)
            table.writerow([model.object_id, *(f"{number:.5f}" for number in numbers), model.lifted_at_try])


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m graspfleet.actor.grasp.survey", description="Measure the random objects."
    )
    parser.add_argument("--tries", type=int, default=TRIES, help="episodes per object")
    tries = parser.parse_args(argv).tries
    path = Path(__file__).parent / "data" / catalog.FILE
    ids = [number for number in range(catalog.COUNT) if number not in catalog.BROKEN_IDS]
    models = [lay_down(number) for number in track(ids, "laying down")]
    write(models, path)
    catalog.catalog.cache_clear()
    models = [
        replace(model, lifted_at_try=tries_needed(model.object_id, tries))
        for model in track(models, "lifting")
    ]
    write(models, path)
    for name, held_out in (("training", False), ("held out", True)):
        lifted = [model.lifted_at_try > 0 for model in models if model.held_out == held_out]
        print(f"{name}: {sum(lifted)} of {len(lifted)} objects lifted at least once in {tries} tries")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
