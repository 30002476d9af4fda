"""The depth camera of `GraspEnv`: an image of the object and the hand in each control step.

In: the scene and its state. Out: images, [S, S, 1] uint8. Must not know: rewards, episodes' ends.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.grasp.depth.faults import Faults, SensorRanges, faulty, turned
from graspfleet.actor.grasp.depth.optics import (
    MAX_IMAGE_SIZE,
    MIN_IMAGE_SIZE,
    Mount,
    Optics,
    Pose,
    quantized,
)
from graspfleet.actor.grasp.depth.world import MESHES, CameraWorld
from graspfleet.actor.grasp.observation import GraspState
from graspfleet.actor.grasp.scene import Scene

Image = NDArray[np.uint8]


class DepthSensor:
    """A depth camera, mounted in the hand or beside the table.

    Args:
        mount: where the camera is, and its field of view.
        image_size: S, pixels of each side.
        ranges: of faults; None for a camera without any.

    Raises:
        ValueError: the image size is not allowed.
    """

    def __init__(self, mount: Mount, image_size: int, ranges: SensorRanges | None) -> None:
        if not (isinstance(image_size, int) and MIN_IMAGE_SIZE <= image_size <= MAX_IMAGE_SIZE):
            raise ValueError(
                f"image_size={image_size!r}: allowed: an integer, {MIN_IMAGE_SIZE} to {MAX_IMAGE_SIZE}"
            )
        self._mount, self._ranges = mount, ranges
        self._optics = Optics(image_size, mount.field_of_view_deg)
        self._position, self._rotation = np.array(mount.position_m), mount.rotation()
        self._faults: Faults | None = None
        self._late: deque[Image] = deque()
        # Built by the first reset, so that a constructor that fails elsewhere leaves no world behind.
        self._world: CameraWorld | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image."""
        return self._optics.image_size, self._optics.image_size, 1

    def reset(self, scene: Scene, rng: np.random.Generator) -> None:
        """Start an episode: load the scene's object, and draw the faults."""
        if self._world is None:  # a hand never sees itself in its own camera
            parts = ("left_finger", "right_finger") if self._mount.in_hand else tuple(MESHES)
            self._world = CameraWorld(*parts)
        self._world.load(scene.model)
        self._late.clear()
        if self._ranges is None:
            return
        faults = self._faults = self._ranges.draw(rng)
        mount = self._mount
        tangent = math.tan(math.radians(mount.field_of_view_deg) / 2) / faults.focal
        self._optics = Optics(self._optics.image_size, math.degrees(2 * math.atan(tangent)))
        exact = mount.rotation()
        self._position = np.array(mount.position_m) + exact @ faults.camera_m
        self._rotation = turned(exact, faults.camera_rad)

    def image(self, scene: Scene, state: GraspState, rng: np.random.Generator) -> Image:
        """Return the image of the current state, or a late one, as a new array [S, S, 1] uint8."""
        assert self._world is not None
        camera = self.pose(state)
        depth = self._world.depth(scene.poses(), camera, self._optics)
        np.minimum(depth, self._optics.table_depth(camera), out=depth)
        if self._faults is None:
            return quantized(depth, self._mount.step_m)[..., None]
        measured = faulty(depth, self._faults, rng)
        self._late.append(quantized(measured, self._mount.step_m)[..., None])
        return self._late.popleft() if len(self._late) > self._faults.delay_frames else self._late[0].copy()

    def pose(self, state: GraspState) -> Pose:
        """Return the camera's pose in the world."""
        if not self._mount.in_hand:
            return Pose(self._position, self._rotation)
        world_from_gripper = np.array(state.ee_rotation).reshape(3, 3)
        position = np.array(state.ee_position) + world_from_gripper @ self._position
        return Pose(position, world_from_gripper @ self._rotation)

    def close(self) -> None:
        """Free the camera's world, which the next `reset` builds anew."""
        if self._world is not None:
            self._world.close()
            self._world = None
