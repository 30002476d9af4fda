"""`python -m graspfleet.actor.grasp.gallery FOLDER`: images for the documentation.

In: a folder. Out: `SET.png` for each object set in it, and `depth.png`.
Must not know: policies, learners, sockets.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from graspfleet.actor.grasp import pictures, visuals
from graspfleet.actor.grasp.engine import pybullet
from graspfleet.actor.grasp.env import GraspEnv
from graspfleet.actor.grasp.objects import object_set
from graspfleet.actor.grasp.observation import OFFSET_SCALE_M
from graspfleet.actor.grasp.robot import STEP_M, Panda
from graspfleet.actor.grasp.simulation import Simulation, physics_preset

SETS = ("cube", "primitives", "random", "random-heldout")
COLUMNS_M = (0.24, 0.37, 0.50, 0.63)
ROWS_M = (-0.33, -0.20, -0.07, 0.07, 0.20, 0.33)
ARM_AT = (0.34, -0.02, 0.30, 0.0)
"""x, y, z (m) and yaw (rad) of the gripper: out of the way."""
WIDTH, HEIGHT, COLORS = 640, 480, 128
FRAMES = 10
"""Depth images in a row, one for each control step."""


def draw(name: str) -> Image.Image:
    """Return an image of many objects of a set, or of its only one, in front of the arm."""
    simulation = Simulation(physics_preset("default"), visuals=True)
    robot = Panda(simulation)
    robot.reset(*ARM_AT)
    visuals.decorate(simulation, robot.body)
    sample, rng = object_set(name), np.random.default_rng(7)
    places = [(x, y) for x in COLUMNS_M for y in ROWS_M] if name != "cube" else [(0.5, 0.0)]
    for x, y in places:
        model, yaw = sample(rng), rng.uniform(-math.pi, math.pi)
        upright = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
        body = model.load(simulation)
        pose = pybullet.multiplyTransforms(
            (x, y, model.rest_height_m), upright, (0, 0, 0), model.rest_quaternion
        )
        pybullet.resetBasePositionAndOrientation(body, *pose, physicsClientId=simulation.client)
    pixels = pictures.picture(simulation.client, width=WIDTH, height=HEIGHT, smoothing=2)
    simulation.close()
    return Image.fromarray(pixels).quantize(COLORS)  # a third of the bytes, no visible difference


def draw_depth() -> Image.Image:
    """Return rows of depth images: for two object sets the hand camera, the fixed one, and all faults."""
    rows = []
    for objects in ("cube", "random"):
        for camera, sensor in (("hand", None), ("fixed", None), ("hand", "all")):
            env = GraspEnv(
                physics="fast",
                objects=objects,
                observation="both",
                camera=camera,
                image_size=64,
                sensor=sensor,
            )
            env.reset(seed=3)
            images = []
            for _ in range(FRAMES):
                assert env.image is not None
                images.append(env.image)
                env.step(approach(env.state_vector))
            rows.append(np.concatenate(images, axis=1))
            env.close()
    sheet = Image.fromarray(np.concatenate(rows))
    return sheet.resize((2 * sheet.width, 2 * sheet.height), Image.Resampling.NEAREST)


def approach(state: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the action toward the object with an open gripper, for a state [39]."""
    sine, cosine = state[3:5]
    forward, side, below = state[12:15] * OFFSET_SCALE_M
    shift = (cosine * forward + sine * side, sine * forward - cosine * side, -0.5 * below)
    return np.array([*np.clip(np.array(shift) / STEP_M, -1, 1), 0.0, 1.0], np.float32)


def main(argv: list[str]) -> int:
    """Draw everything; return the exit status."""
    folder = Path(argv[0] if argv else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in [*((name, draw(name)) for name in SETS), ("depth", draw_depth())]:
        image.save(folder / f"{name}.png", optimize=True)
        print(folder / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
