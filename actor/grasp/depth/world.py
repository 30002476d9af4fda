"""A second PyBullet world with only the surfaces that a camera sees: the object, the fingers, the hand.

In: an object model and poses. Out: depths of surfaces, [S, S] float32. Must not know: physics, the task,
sensor faults.

On the full scene, PyBullet's CPU renderer takes 18 ms at any image size, most of it for the meshes of the
arm. Here are the object and the collision meshes of the fingers and the hand, which have a thirtieth of the
triangles of the visual ones; the table is a plane whose depth is computed (see `optics`).
"""

from __future__ import annotations

import os

import numpy as np
import pybullet_data

from graspfleet.actor.grasp.depth.optics import Depths, Optics, Pose, surface_depth
from graspfleet.actor.grasp.engine import pybullet
from graspfleet.actor.grasp.objects import ObjectModel
from graspfleet.actor.grasp.scene import LOADS_PER_WORLD, Poses
from graspfleet.actor.grasp.simulation import Simulation, physics_preset

FOLDER = "franka_panda/meshes/collision"
MESHES = {"hand": "hand.obj", "left_finger": "finger.obj", "right_finger": "finger.obj"}
"""Mesh of each part of the hand."""
HALF_TURN = (0.0, 0.0, 1.0, 0.0)
"""Rotation of the right finger's mesh in the frame of its link."""


class CameraWorld:
    """Some bodies without physics: parts of the hand and, after `load`, one object.

    Args:
        parts: parts of the hand, names of `Poses`.
    """

    def __init__(self, *parts: str) -> None:
        """Build the first world."""
        self._parts = parts
        self._build()

    def _build(self) -> None:
        self._simulation = Simulation(physics_preset("fast"), visuals=True, ground=False)
        self._bodies = {part: self._mesh(MESHES[part]) for part in self._parts}
        self._model: ObjectModel | None = None
        self._loads = 0

    def _mesh(self, name: str) -> int:
        client = self._simulation.client
        path = os.path.join(pybullet_data.getDataPath(), FOLDER, name)
        shape = pybullet.createVisualShape(pybullet.GEOM_MESH, fileName=path, physicsClientId=client)
        body: int = pybullet.createMultiBody(0, -1, shape, physicsClientId=client)
        return body

    def load(self, model: ObjectModel) -> None:
        """Replace the object."""
        if model == self._model:
            return
        if self._loads >= LOADS_PER_WORLD:
            self.close()
            self._build()
        elif self._model is not None:
            pybullet.removeBody(self._bodies.pop("object"), physicsClientId=self._simulation.client)
        self._model = None  # a load that fails leaves the world without an object
        self._bodies["object"] = model.load(self._simulation)
        self._model = model
        self._loads += 1

    def depth(self, poses: Poses, camera: Pose, optics: Optics) -> Depths:
        """Return the depth [S, S] of the nearest surface, in meters; `FAR_M` where there is none."""
        client, size = self._simulation.client, optics.image_size
        for part, body in self._bodies.items():
            pose = getattr(poses, part)
            if part == "right_finger":
                pose = pybullet.multiplyTransforms(*pose, (0.0, 0.0, 0.0), HALF_TURN)
            pybullet.resetBasePositionAndOrientation(body, *pose, physicsClientId=client)
        buffer = pybullet.getCameraImage(
            size,
            size,
            camera.view_matrix(),
            optics.projection_matrix,
            shadow=0,
            flags=pybullet.ER_NO_SEGMENTATION_MASK,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=client,
        )[3]
        return surface_depth(np.asarray(buffer, np.float32).reshape(size, size))

    def close(self) -> None:
        """Free the world; further calls have no effect."""
        self._simulation.close()
