"""Faults of a depth camera that vary between episodes: noise, holes, edges, pose, focal length, latency.

In: ranges, a random generator, depths in meters. Out: the faults of one episode, and depths with them. Must
not know: PyBullet, Gymnasium.

The model is that of a structured-light camera: the noise of a triangulated depth grows with its square, and
near an edge one of projector and camera does not see the surface, so a pixel has no depth: its value is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from graspfleet.actor.grasp.depth.optics import FAR_M, Depths, Matrix
from graspfleet.actor.grasp.observation import Vector
from graspfleet.actor.grasp.ranges import Delay, Deviation, Ordered, Ranges, Shift, read_ranges

NOISE_AT_M = 0.5
"""Depth at which the noise has the standard deviation `noise_m`."""
EDGE_M = 0.015
"""Difference in depth between neighboring pixels from which there is an edge between them."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Angle = Annotated[float, Field(ge=-0.5, le=0.5)]
Scale = Annotated[float, Field(ge=0.5, le=2.0)]


class Faults(NamedTuple):
    """The faults of one episode: the fields of `SensorRanges`, `camera_m` and `camera_rad` for each axis."""

    noise_m: float
    hole_prob: float
    edge_prob: float
    camera_m: Vector
    camera_rad: Vector
    focal: float
    step_m: float
    delay_frames: int


class SensorRanges(Ranges):
    """Ranges (lowest, highest) of uniform distributions, drawn once per episode; the defaults vary nothing.

    Attributes:
        noise_m: standard deviation (m) of the depth at `NOISE_AT_M`; it grows with the square of the depth.
        hole_prob: probability that a pixel has no depth.
        edge_prob: the same for a pixel at an edge.
        camera_m: error of the camera's position along each of its axes, m.
        camera_rad: error of its rotation about each of its axes, rad.
        focal: factor of the focal length.
        step_m: step (m) to which the camera itself rounds depths; 0: none.
        delay_frames: control steps by which an image is late.
    """

    noise_m: Annotated[tuple[Deviation, Deviation], Ordered] = (0.0, 0.0)
    hole_prob: Annotated[tuple[Probability, Probability], Ordered] = (0.0, 0.0)
    edge_prob: Annotated[tuple[Probability, Probability], Ordered] = (0.0, 0.0)
    camera_m: Annotated[tuple[Shift, Shift], Ordered] = (0.0, 0.0)
    camera_rad: Annotated[tuple[Angle, Angle], Ordered] = (0.0, 0.0)
    focal: Annotated[tuple[Scale, Scale], Ordered] = (1.0, 1.0)
    step_m: Annotated[tuple[Deviation, Deviation], Ordered] = (0.0, 0.0)
    delay_frames: Annotated[tuple[Delay, Delay], Ordered] = (0, 0)

    def draw(self, rng: np.random.Generator) -> Faults:
        """Return the values of one episode; always uses the same number of random numbers."""
        low, high = self.delay_frames
        (x, y, z), (rx, ry, rz) = rng.uniform(*self.camera_m, 3), rng.uniform(*self.camera_rad, 3)
        return Faults(
            noise_m=rng.uniform(*self.noise_m),
            hole_prob=rng.uniform(*self.hole_prob),
            edge_prob=rng.uniform(*self.edge_prob),
            camera_m=(x, y, z),
            camera_rad=(rx, ry, rz),
            focal=rng.uniform(*self.focal),
            step_m=rng.uniform(*self.step_m),
            delay_frames=low + int(rng.random() * (high - low + 1)),
        )


ALL = SensorRanges(
    noise_m=(0.0, 0.004),
    hole_prob=(0.0, 0.02),
    edge_prob=(0.0, 0.5),
    camera_m=(-0.004, 0.004),
    camera_rad=(-0.02, 0.02),
    focal=(0.98, 1.02),
    step_m=(0.0, 0.003),
    delay_frames=(0, 1),
)
"""All faults, as large as those of a calibrated camera: `sensor="all"`."""


def sensor_ranges(setting: str | Mapping[str, Any] | None) -> SensorRanges | None:
    """Return the ranges that the argument `sensor` names; see `read_ranges`."""
    return read_ranges("sensor", setting, SensorRanges, ALL)


def faulty(depth: Depths, faults: Faults, rng: np.random.Generator) -> Depths:
    """Return depths (m) as the camera measures them; pixels without depth are 0.

    Always uses the same number of random numbers, so that one fault does not change the draws of another.
    """
    noise, chance = rng.standard_normal(depth.shape, np.float32), rng.random(depth.shape, np.float32)
    measured = depth + noise * np.float32(faults.noise_m) * np.square(depth / np.float32(NOISE_AT_M))
    if faults.step_m > 0:
        measured = np.round(measured / np.float32(faults.step_m)) * np.float32(faults.step_m)
    lost = chance < np.where(edges(depth), max(faults.edge_prob, faults.hole_prob), faults.hole_prob)
    result: Depths = np.where(lost, np.float32(0), np.clip(measured, 0, FAR_M))
    return result


def edges(depth: Depths) -> NDArray[np.bool_]:
    """Return the pixels with a neighbor that differs by `EDGE_M` or more."""
    found = np.zeros(depth.shape, np.bool_)
    for axis in (0, 1):
        jump = np.abs(np.diff(depth, axis=axis)) >= EDGE_M
        first, second = (slice(None, -1), slice(1, None))
        if axis == 0:
            found[first] |= jump
            found[second] |= jump
        else:
            found[:, first] |= jump
            found[:, second] |= jump
    return found


def turned(rotation: Matrix, angles: Vector) -> Matrix:
    """Return a rotation turned about its own axes x, y and z by small angles (rad), in that order."""
    for axis, angle in enumerate(angles):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[j, i], turn[i, j] = math.sin(angle), -math.sin(angle)
        rotation = rotation @ turn
    return rotation
