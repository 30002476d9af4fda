"""Grasp planning from an object's outline, which is measured by ray casts.

In: a scene, including geometry that policies do not observe. Out: a `Grasp`.
Must not know: actions, rewards, Gymnasium.

For each yaw of the gripper and each lateral offset, rays from both sides along the closing direction find the
outermost surface at several heights. A grasp is good if both surfaces face the fingers squarely (so that
pressing does not turn the object or squeeze it out), are flat across the width of a finger, and lie near the
center of mass. It is possible if the open fingers fit on either side.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.grasp.engine import pybullet
from graspfleet.actor.grasp.observation import WORKSPACE_LOW_M, Vector
from graspfleet.actor.grasp.scene import Scene

Array = NDArray[np.float64]

YAWS = np.linspace(0.0, math.pi, 24, endpoint=False)
"""Yaws relative to the object's x axis (rad), so that the faces of a box are among them."""
LATERAL_M = np.linspace(-0.048, 0.048, 25)
HEIGHTS_M = np.linspace(0.006, 0.15, 17)
RAY_FROM_M = 0.12
FINGER_AT_M, HALF_FINGER_M = 0.0385, 0.0121
"""Distance of an open finger's inner surface from the grasp point; half of its width, with a margin."""
PAD_BELOW_M, PAD_ABOVE_M = 0.007, 0.010
"""Extent of a finger's pad below and above the grasp point."""
HALF_PALM_M, PALM_ABOVE_M = 0.032, 0.038
"""Half the width of the palm, and its height above the grasp point."""
CLEARANCE_M = 0.003
"""Smallest clearance between an open finger and the object."""


class Grasp(NamedTuple):
    """A grasp in the object frame, so that it stays valid when the object moves.

    Attributes:
        point_m: target of the grasp point.
        axis: unit vector along which the fingers close.
    """

    point_m: Vector
    axis: Vector


class Outline(NamedTuple):
    """An object's outline along the closing axis, measured by rays; arrays [yaw, lateral, height].

    Attributes:
        far: outermost surface on the positive side, m; -inf if the ray hits nothing.
        near: outermost surface on the negative side, m; inf if the ray hits nothing.
        facing: cosine between surface normal and closing axis, the smaller of both sides; 0 if a ray hits
            nothing.
    """

    far: Array
    near: Array
    facing: Array


def plan_grasp(scene: Scene) -> Grasp:
    """Return the best grasp of the scene's object in its current pose, even if none is possible."""
    client = scene.simulation.client
    position, quaternion = pybullet.getBasePositionAndOrientation(scene.body, client)
    rotation = np.array(pybullet.getMatrixFromQuaternion(quaternion)).reshape(3, 3)
    yaws = YAWS + math.atan2(rotation[1, 0], rotation[0, 0])
    outline = _feel(client, scene.body, position, yaws)
    score, middle, height = _score(outline, position[2])
    yaw, side, level = np.unravel_index(int(score.argmax()), score.shape)
    sine, cosine = math.sin(yaws[yaw]), math.cos(yaws[yaw])
    along, across = middle[yaw, side, level], LATERAL_M[side]
    offset = (cosine * across - sine * along, sine * across + cosine * along, height[level] - position[2])
    x, y, z = (rotation.T @ np.array(offset)).tolist()
    ax, ay, az = (rotation.T @ np.array((-sine, cosine, 0.0))).tolist()
    return Grasp((x, y, z), (ax, ay, az))


def _feel(client: int, body: int, position: Vector, yaws: Array) -> Outline:
    """Cast the rays, [yaw, lateral, height], from both sides."""
    closing = np.stack([-np.sin(yaws), np.cos(yaws), np.zeros_like(yaws)], -1)[:, None, None, :]
    aside = np.stack([np.cos(yaws), np.sin(yaws), np.zeros_like(yaws)], -1)[:, None, None, :]
    lines = np.array([position[0], position[1], 0.0]) + aside * LATERAL_M[:, None, None]
    lines = lines + HEIGHTS_M[:, None] * np.array([0.0, 0.0, 1.0])
    starts, stops = (lines + RAY_FROM_M * side * closing for side in (1.0, -1.0))
    sides = [_cast(client, body, a, b) for a, b in ((starts, stops), (stops, starts))]
    both = sides[0][0] & sides[1][0]
    facing = [np.abs((normal * closing).sum(-1)) for _, _, normal in sides]
    return Outline(
        far=np.where(both, RAY_FROM_M - sides[0][1], -np.inf),
        near=np.where(both, sides[1][1] - RAY_FROM_M, np.inf),
        facing=np.where(both, np.minimum(*facing), 0.0),
    )


def _cast(client: int, body: int, starts: Array, stops: Array) -> tuple[NDArray[np.bool_], Array, Array]:
    """Return for each ray whether it hits the body, the distance of the hit (m), and the normal there."""
    rays = pybullet.rayTestBatch(
        starts.reshape(-1, 3).tolist(), stops.reshape(-1, 3).tolist(), physicsClientId=client
    )
    shape = starts.shape[:-1]
    hit = np.array([ray[0] == body for ray in rays]).reshape(shape)
    traveled = np.array([ray[2] for ray in rays]).reshape(shape) * (2 * RAY_FROM_M)
    return hit, traveled, np.array([ray[4] for ray in rays]).reshape(starts.shape)


def _score(outline: Outline, center_height_m: float) -> tuple[Array, Array, Array]:
    """Return the score of each grasp, its middle along the closing axis (m), and the grasp heights (m)."""
    spacing = LATERAL_M[1] - LATERAL_M[0]
    reach = int(HALF_FINGER_M / spacing)
    top = np.where(np.isfinite(outline.far), HEIGHTS_M, 0.0).max(-1, keepdims=True)
    top = _spread(top, int(HALF_PALM_M / spacing), np.maximum)[..., 0]
    far = _spread(outline.far, reach, np.maximum)
    near = -_spread(-outline.near, reach, np.maximum)
    heights = HEIGHTS_M[WORKSPACE_LOW_M[2] <= HEIGHTS_M]
    shape = (*far.shape[:2], len(heights))
    score, middle = np.full(shape, -np.inf), np.zeros(shape)
    for level, height in enumerate(heights):
        pad = (height - PAD_BELOW_M <= HEIGHTS_M) & (height + PAD_ABOVE_M >= HEIGHTS_M)
        above = height - PAD_BELOW_M <= HEIGHTS_M
        high, low = far[..., pad].max(-1), near[..., pad].min(-1)
        felt = np.isfinite(high)
        center = np.where(felt, (np.where(felt, high, 0.0) + np.where(felt, low, 0.0)) / 2, 0.0)
        room = FINGER_AT_M - np.maximum(far[..., above].max(-1) - center, center - near[..., above].min(-1))
        facing = outline.facing[..., pad].mean(-1)
        uneven = _unevenness(outline, pad, high, low)
        score[..., level] = (
            2.0 * facing
            - 20.0 * np.abs(LATERAL_M)
            - 10.0 * np.abs(center)
            - 8.0 * abs(height - center_height_m)
            - 40.0 * uneven
            + 40.0 * np.clip(room, -1.0, 0.015)
            - 10.0 * (room < CLEARANCE_M)
            - 10.0 * (top > height + PALM_ABOVE_M)
            - 30.0 * ~felt
        )
        middle[..., level] = center
    return np.nan_to_num(score, nan=-1e3, neginf=-1e3), middle, heights


def _unevenness(outline: Outline, pad: NDArray[np.bool_], high: Array, low: Array) -> Array:
    """Return how far the surfaces at the middle of the fingers lie behind the outermost points, m."""
    at_middle_high, at_middle_low = outline.far[..., pad].max(-1), outline.near[..., pad].min(-1)
    felt = np.isfinite(at_middle_high)
    behind = np.maximum(high - np.where(felt, at_middle_high, 0.0), np.where(felt, at_middle_low, 0.0) - low)
    return np.where(felt, behind, 0.05)


def _spread(values: Array, reach: int, combine: Any) -> Array:
    """Combine the values at each lateral offset with those within `reach` offsets of it."""
    spread = values.copy()
    for shift in range(1, reach + 1):
        spread[:, shift:] = combine(spread[:, shift:], values[:, :-shift])
        spread[:, :-shift] = combine(spread[:, :-shift], values[:, shift:])
    return spread
