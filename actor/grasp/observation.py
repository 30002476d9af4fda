"""Encoding of the state of the world as the observation vector of a policy.

In: a `GraspState`. Out: [39] float32 in [-1, 1].
Must not know: PyBullet, rewards, episodes.

| index | part | frame | divided by |
| --- | --- | --- | --- |
| 0-2 | grasp point, relative to the middle of the workspace | world | half the workspace |
| 3-4 | sine and cosine of the gripper's yaw | world | 1 |
| 5-7 | velocity of the grasp point | world | `VELOCITY_SCALE_M_S` |
| 8 | finger opening, 0 closed .. 0.08 m open, mapped to -1 .. 1 | | |
| 9-10 | left, right finger touches the object: 0 or 1 | | |
| 11 | last gripper command: -1 close .. 1 open | | |
| 12-14 | object position relative to the grasp point | gripper | `OFFSET_SCALE_M` |
| 15-20 | directions of two edges of the object's bounding box, see `_box` | gripper | 1 |
| 21-23 | velocity of the object relative to the grasp point | gripper | `VELOCITY_SCALE_M_S` |
| 24 | height of the object above where it lay at rest | world | `HEIGHT_SCALE_M` |
| 25-27 | lengths of these two edges and of the third | | `EXTENT_SCALE_M` |
| 28-30 | middle of the bounding box relative to the object position | gripper | `MIDDLE_SCALE_M` |
| 31-32 | distance of the left, the right finger from the object | | `GAP_MAX_M` |
| 33-35 | vector from the left finger to the nearest point of the object | gripper | `GAP_MAX_M` |
| 36-38 | the same for the right finger | gripper | `GAP_MAX_M` |

All values are clipped to [-1, 1] after scaling. The object position is that of its center of mass. The only
information about its shape is the bounding box and the nearest point to each finger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]
Rotation = tuple[float, float, float, float, float, float, float, float, float]
"""A 3x3 rotation matrix, row by row."""

WORKSPACE_LOW_M: Vector = (0.30, -0.25, 0.012)
"""Lowest grasp point that can be commanded. The fingertips extend 7 mm below it."""
WORKSPACE_HIGH_M: Vector = (0.70, 0.25, 0.35)
FINGER_OPENING_M = 0.08
OFFSET_SCALE_M = 0.25
GAP_MAX_M = FINGER_OPENING_M / 2
"""Largest measured gap between finger and object: half the opening of the gripper."""
VELOCITY_SCALE_M_S = 1.0
HEIGHT_SCALE_M = 0.2
EXTENT_SCALE_M = 0.2
MIDDLE_SCALE_M = 0.05

_CENTER_X, _CENTER_Y, _CENTER_Z = (
    (low + high) / 2 for low, high in zip(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, strict=True)
)
_SCALE = np.array(
    [
        *((high - low) / 2 for low, high in zip(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, strict=True)),
        *[1.0] * 2,
        *[VELOCITY_SCALE_M_S] * 3,
        FINGER_OPENING_M / 2,
        *[1.0] * 3,
        *[OFFSET_SCALE_M] * 3,
        *[1.0] * 6,
        *[VELOCITY_SCALE_M_S] * 3,
        HEIGHT_SCALE_M,
        *[EXTENT_SCALE_M] * 3,
        *[MIDDLE_SCALE_M] * 3,
        *[GAP_MAX_M] * 8,
    ]
)
"""Scale of each number of an observation."""
OBSERVATION_SIZE = len(_SCALE)


class Gap(NamedTuple):
    """The gap between a finger and the object.

    Attributes:
        distance_m: from the finger to the object's surface, at most `GAP_MAX_M`; 0 in contact.
        way_m: vector from the finger's nearest point to the object's, world frame; 0 in contact, and for gaps
            of `GAP_MAX_M`.
    """

    distance_m: float
    way_m: Vector


NO_GAP, WIDE_GAP = Gap(0.0, (0.0, 0.0, 0.0)), Gap(GAP_MAX_M, (0.0, 0.0, 0.0))


@dataclass(slots=True)
class GraspState:
    """State from which observation, reward and termination are computed.

    Attributes:
        ee_position: grasp point between the fingertips, world frame, m.
        ee_rotation: world_from_gripper; the gripper's z axis points out of it, its y axis along the fingers'
            closing direction.
        ee_velocity: of the grasp point, world frame, m/s.
        finger_width_m: distance between the two fingers.
        left_contact: whether the left finger touches the object.
        right_contact: whether the right finger touches the object.
        left_gap: from the left finger to the object.
        right_gap: the same for the right finger.
        gripper_command: last commanded value, -1 closed .. 1 open.
        object_position: world frame, m.
        object_rotation: world_from_object.
        object_velocity: world frame, m/s.
        object_height_m: height above its position at rest.
        object_extents_m: edge lengths of its bounding box, object frame.
        object_middle_m: middle of its bounding box, object frame; the center of mass is at (0, 0, 0).
    """

    ee_position: Vector
    ee_rotation: Rotation
    ee_velocity: Vector
    finger_width_m: float
    left_contact: bool
    right_contact: bool
    left_gap: Gap
    right_gap: Gap
    gripper_command: float
    object_position: Vector
    object_rotation: Rotation
    object_velocity: Vector
    object_height_m: float
    object_extents_m: Vector
    object_middle_m: Vector


def encode(state: GraspState) -> NDArray[np.float32]:
    """Return the observation of `state`, with the layout of the table at the top of this module.

    It uses scalars rather than small arrays: 39 numbers cost less in Python than one NumPy matrix product.

    Returns:
        [39] float32 in [-1, 1], a new array.
    """
    a, b, c, d, e, f, g, h, i = state.ee_rotation

    def turned(x: float, y: float, z: float) -> Vector:
        """Rotate a vector from the world frame to the gripper frame."""
        return a * x + d * y + g * z, b * x + e * y + h * z, c * x + f * y + i * z

    x, y, z = state.ee_position
    vx, vy, vz = state.ee_velocity
    ox, oy, oz = state.object_position
    ux, uy, uz = state.object_velocity
    rotation, (mx, my, mz) = state.object_rotation, state.object_middle_m
    axes = p, q, r = turned(*rotation[::3]), turned(*rotation[1::3]), turned(*rotation[2::3])
    first, second, extents = _box(axes, state.object_extents_m)
    left, right = state.left_gap, state.right_gap
    values = (
        x - _CENTER_X,
        y - _CENTER_Y,
        z - _CENTER_Z,
        d,  # sine and cosine of the yaw: direction of the gripper's x axis
        a,
        vx,
        vy,
        vz,
        state.finger_width_m - FINGER_OPENING_M / 2,
        1.0 if state.left_contact else 0.0,
        1.0 if state.right_contact else 0.0,
        state.gripper_command,
        *turned(ox - x, oy - y, oz - z),
        *first,
        *second,
        *turned(ux - vx, uy - vy, uz - vz),
        state.object_height_m,
        *extents,
        p[0] * mx + q[0] * my + r[0] * mz,
        p[1] * mx + q[1] * my + r[1] * mz,
        p[2] * mx + q[2] * my + r[2] * mz,
        left.distance_m,
        right.distance_m,
        *turned(*left.way_m),
        *turned(*right.way_m),
    )
    observation = np.array(values)
    observation /= _SCALE
    np.minimum(observation, 1.0, out=observation)
    np.maximum(observation, -1.0, out=observation)
    return observation.astype(np.float32)


def _box(axes: tuple[Vector, ...], extents: Vector) -> tuple[Vector, Vector, Vector]:
    """Return a canonical order and direction of the edges of the object's bounding box.

    The order and signs of a box's axes carry no information: 24 rotation matrices describe the same pose, and
    a policy would have to learn the same grasp for each of them.

    Args:
        axes: of the object, gripper frame.
        extents: edge lengths of the box along the axes.

    Returns:
        The direction of the edge nearest to the gripper's x axis, and of the one of the other two nearest to
        its y axis, each with a positive component along that axis; the lengths of these two edges and of the
        third.
    """
    along = [abs(axis[0]) for axis in axes]
    i = along.index(max(along))
    j, k = (i + 1) % 3, (i + 2) % 3
    if abs(axes[k][1]) > abs(axes[j][1]):
        j, k = k, j
    first, second = axes[i], axes[j]
    if first[0] < 0.0:
        first = (-first[0], -first[1], -first[2])
    if second[1] < 0.0:
        second = (-second[0], -second[1], -second[2])
    return first, second, (extents[i], extents[j], extents[k])
