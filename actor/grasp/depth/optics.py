"""A depth camera's geometry: where it is mounted, the rays of its pixels, and its 8-bit depth.

In: the pose of the gripper, distances in meters. Out: matrices for the renderer, the depth of the table, and
images [H, W] uint8. Must not know: PyBullet, the object, random numbers.

Camera frame, as in OpenCV: x to the right of the image, y down, z forward. Depth is measured along z, not
along the ray of a pixel. With an image of S x S pixels and a field of view F, a point (x, y, z) appears at
column S / 2 + f x / z and row S / 2 + f y / z, f = S / (2 tan(F / 2)) pixels; pixel i covers [i, i + 1).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.grasp.observation import Vector

LEVELS = 255
"""Largest pixel value; it stands for every depth from `LEVELS` steps on."""
NEAR_M, FAR_M = 0.01, 1.5
"""Depths between which surfaces are rendered."""
MIN_IMAGE_SIZE, MAX_IMAGE_SIZE = 16, 256

Depths = NDArray[np.float32]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Mount:
    """Pose and field of view of a camera.

    Attributes:
        in_hand: the pose is relative to the gripper (x forward, y along the closing direction, z out of it;
            the origin is the grasp point); otherwise to the world.
        position_m: of the camera.
        forward: direction in which it looks, of any length.
        right: direction of the image's x axis, of any length, perpendicular to `forward`.
        field_of_view_deg: angle between the left and the right edge of the image; the same vertically.
        step_m: depth of one level of a pixel: pixel = depth / step_m, rounded.
    """

    in_hand: bool
    position_m: Vector
    forward: Vector
    right: Vector
    field_of_view_deg: float
    step_m: float

    def rotation(self) -> Matrix:
        """Return frame_from_camera, [3, 3]."""
        forward, right = (np.array(axis) / np.linalg.norm(axis) for axis in (self.forward, self.right))
        return np.stack((right, np.cross(forward, right), forward), axis=1)


_TILT = math.radians(20)
CAMERAS: Mapping[str, Mount] = MappingProxyType(
    {
        # In front of the hand and 7 cm beside its axis, as a camera on a bracket of a real hand has to be.
        "hand": Mount(
            in_hand=True,
            position_m=(0.07, 0.0, -0.06),
            forward=(-math.sin(_TILT), 0.0, math.cos(_TILT)),
            right=(0.0, 1.0, 0.0),
            field_of_view_deg=90.0,
            step_m=0.002,  # up to 0.51 m
        ),
        # Opposite the arm, looking down at the middle of the object positions.
        "fixed": Mount(
            in_hand=False,
            position_m=(0.80, 0.0, 0.38),
            forward=(-0.30, 0.0, -0.34),
            right=(0.0, 1.0, 0.0),
            field_of_view_deg=50.0,
            step_m=0.004,  # up to 1.02 m
        ),
    }
)


def camera_mount(name: str) -> Mount:
    """Return the mount of the camera called `name`.

    Raises:
        ValueError: there is no such camera; the message lists the allowed ones.
    """
    if name not in tuple(CAMERAS):
        raise ValueError(f"camera={name!r} is unknown; allowed: {', '.join(CAMERAS)}")
    return CAMERAS[name]


class Pose(NamedTuple):
    """A camera's pose in the world: its position (m), and world_from_camera, [3, 3]."""

    position: Matrix
    rotation: Matrix

    def view_matrix(self) -> list[float]:
        """Return OpenGL's view matrix, column by column: its camera looks along -z, with y up."""
        px, py, pz = self.position.tolist()
        right, down, forward = self.rotation.T.tolist()
        axes = (right, [-value for value in down], [-value for value in forward])
        columns = [[axis[i] for axis in axes] + [0.0] for i in range(3)]
        shift = [-(axis[0] * px + axis[1] * py + axis[2] * pz) for axis in axes]
        return [*columns[0], *columns[1], *columns[2], *shift, 1.0]


class Optics:
    """The pinhole of a camera: its projection and the rays of its pixels.

    Args:
        image_size: S, pixels of each side.
        field_of_view_deg: angle between opposite edges.

    Attributes:
        image_size: S.
        projection_matrix: OpenGL's, column by column.
    """

    def __init__(self, image_size: int, field_of_view_deg: float) -> None:
        self.image_size = image_size
        tangent = math.tan(math.radians(field_of_view_deg) / 2)
        along = ((np.arange(image_size) + 0.5) * (2 / image_size) - 1) * tangent
        columns, rows = np.meshgrid(along, along)
        self._rays = np.stack((columns, rows, np.ones_like(rows)), axis=-1).reshape(-1, 3).astype(np.float32)
        depth = FAR_M - NEAR_M
        columns_of_matrix = (
            (1 / tangent, 0.0, 0.0, 0.0),
            (0.0, 1 / tangent, 0.0, 0.0),
            # PyBullet's CPU renderer samples a pixel at its lower left corner; this moves that to the center.
            (1 / image_size, 1 / image_size, -(FAR_M + NEAR_M) / depth, -1.0),
            (0.0, 0.0, -2 * FAR_M * NEAR_M / depth, 0.0),
        )
        self.projection_matrix = [value for column in columns_of_matrix for value in column]

    def table_depth(self, pose: Pose) -> Depths:
        """Return the depth [S, S] of the plane z = 0, `FAR_M` where a ray does not meet it."""
        height = np.float32(pose.position[2])
        falling = self._rays @ (-pose.rotation[2]).astype(np.float32)  # meters down per meter of depth
        np.maximum(falling, height / np.float32(FAR_M), out=falling)
        depths: Depths = (height / falling).reshape(self.image_size, -1)
        return depths


def surface_depth(buffer: Depths) -> Depths:
    """Return depths in meters for the values of OpenGL's depth buffer, 0 at `NEAR_M` and 1 at `FAR_M`."""
    return np.float32(FAR_M * NEAR_M) / (np.float32(FAR_M) - np.float32(FAR_M - NEAR_M) * buffer)


def quantized(depth: Depths, step_m: float) -> NDArray[np.uint8]:
    """Return depths in meters as pixel values; see `Mount.step_m`."""
    levels = depth * np.float32(1 / step_m) + np.float32(0.5)
    pixels: NDArray[np.uint8] = np.minimum(levels, LEVELS, out=levels).astype(np.uint8)
    return pixels
