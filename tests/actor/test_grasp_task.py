"""What a policy sees and what it is paid for, as functions of the state alone."""

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pybullet
import pytest

from graspfleet.actor.grasp import observation, task
from graspfleet.actor.grasp.observation import NO_GAP, WIDE_GAP, Gap, GraspState

DOWN = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, -1.0)
FLAT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
STATE = GraspState(
    ee_position=(0.5, 0.0, 0.181),
    ee_rotation=DOWN,
    ee_velocity=(0.0, 0.0, 0.0),
    finger_width_m=0.08,
    left_contact=False,
    right_contact=False,
    left_gap=WIDE_GAP,
    right_gap=WIDE_GAP,
    gripper_command=1.0,
    object_position=(0.5, 0.0, 0.02),
    object_rotation=FLAT,
    object_velocity=(0.0, 0.0, 0.0),
    object_height_m=0.0,
    object_extents_m=(0.04, 0.04, 0.04),
    object_middle_m=(0.0, 0.0, 0.0),
)


def beside(y_m: float) -> Gap:
    """A gap along the world's y axis."""
    return Gap(abs(y_m), (0.0, y_m, 0.0))


EDGES, MIDDLE = (0.03, 0.05, 0.12), (0.004, -0.003, 0.01)
AROUND = replace(STATE, ee_position=(0.5, 0.0, 0.02), left_gap=beside(0.02), right_gap=beside(-0.02))
HELD = replace(AROUND, left_contact=True, right_contact=True, left_gap=NO_GAP, right_gap=NO_GAP)


def held_at(height_m: float) -> GraspState:
    position = (0.5, 0.0, 0.02 + height_m)
    return replace(HELD, ee_position=position, object_position=position, object_height_m=height_m)


def matrix(rotation: observation.Rotation) -> np.ndarray[Any, Any]:
    return np.array(rotation).reshape(3, 3)


def random_rotation(rng: np.random.Generator) -> observation.Rotation:
    quaternion = rng.normal(size=4)
    rotation: observation.Rotation = pybullet.getMatrixFromQuaternion(quaternion / np.linalg.norm(quaternion))
    return rotation


# Observation


def test_observation_of_a_known_state() -> None:
    expected = [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0.161 / 0.25]
    expected += [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0.2, 0.2, 0.2, 0, 0, 0, 1, 1, *[0] * 6]
    encoded = observation.encode(STATE)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(encoded, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_observation_agrees_with_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ee, thing = random_rotation(rng), random_rotation(rng)
    x, v, o, u = (tuple(rng.uniform(0.4, 0.5, 3).tolist()) for _ in range(4))
    state = replace(
        STATE,
        ee_position=x,
        ee_rotation=ee,
        ee_velocity=v,
        object_position=o,
        object_rotation=thing,
        object_velocity=u,
        object_extents_m=EDGES,
        object_middle_m=MIDDLE,
        left_gap=Gap(0.01, (0.006, 0.0, 0.008)),
        right_gap=Gap(0.03, (0.0, -0.03, 0.0)),
    )
    encoded = observation.encode(state)
    gripper_from_world = matrix(ee).T
    np.testing.assert_allclose(encoded[3:5], matrix(ee)[[1, 0], 0], atol=1e-6)
    np.testing.assert_allclose(encoded[5:8], v, atol=1e-6)
    np.testing.assert_allclose(encoded[12:15], gripper_from_world @ np.subtract(o, x) / 0.25, atol=1e-6)
    np.testing.assert_allclose(encoded[21:24], gripper_from_world @ np.subtract(u, v), atol=1e-6)
    axes = gripper_from_world @ matrix(thing)
    np.testing.assert_allclose(encoded[28:31], axes @ MIDDLE / 0.05, atol=1e-6)
    np.testing.assert_allclose(encoded[31:33], [0.25, 0.75], atol=1e-6)
    np.testing.assert_allclose(encoded[33:36], gripper_from_world @ (0.15, 0.0, 0.2), atol=1e-6)
    np.testing.assert_allclose(encoded[36:39], gripper_from_world @ (0.0, -0.75, 0.0), atol=1e-6)
    first, second = encoded[15:18], encoded[18:21]
    named = np.abs(np.stack([first, second, np.cross(first, second)]) @ axes)
    np.testing.assert_allclose(named.max(1), 1.0, atol=1e-6, err_msg="directions of three different edges")
    edges = named.argmax(1)
    assert sorted(edges) == [0, 1, 2]
    np.testing.assert_allclose(encoded[25:28], np.array(EDGES)[edges] / 0.2, atol=1e-6)
    assert first[0] == pytest.approx(np.abs(axes[0]).max())
    assert second[1] == pytest.approx(np.abs(axes[1, edges[1:]]).max())


@pytest.mark.parametrize("seed", range(3))
def test_however_the_edges_of_a_box_are_named_it_looks_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    thing = matrix(random_rotation(rng))
    state = replace(STATE, ee_rotation=random_rotation(rng))
    seen = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            renamed = np.eye(3)[:, order] * signs
            if np.linalg.det(renamed) > 0:  # a rotation of the object's own frame
                turned: Any = tuple((thing @ renamed).ravel().tolist())
                edges: Any = tuple(EDGES[edge] for edge in order)
                middle: Any = tuple((renamed.T @ MIDDLE).tolist())
                state = replace(state, object_rotation=turned, object_extents_m=edges, object_middle_m=middle)
                seen.append(observation.encode(state))
    assert len(seen) == 24
    np.testing.assert_allclose(seen, np.broadcast_to(seen[0], (24, len(seen[0]))), atol=1e-6)


def test_observation_is_clipped() -> None:
    far = replace(
        STATE, object_position=(9.0, -9.0, 9.0), object_velocity=(-9.0, 9.0, 9.0), object_height_m=9.0
    )
    assert np.abs(observation.encode(far)).max() == 1.0


def test_observation_has_both_contacts_and_the_fingers() -> None:
    encoded = observation.encode(replace(STATE, left_contact=True, finger_width_m=0.0, gripper_command=-0.5))
    assert encoded[8:12].tolist() == [-1.0, 1.0, 0.0, -0.5]


# Reward and success


def test_every_later_stage_pays_more() -> None:
    stages = [
        replace(STATE, object_position=(0.6, 0.1, 0.02)),
        STATE,
        replace(STATE, ee_position=(0.5, 0.0, 0.06)),
        AROUND,
        replace(AROUND, left_gap=beside(0.01), right_gap=beside(-0.01)),
        HELD,
        held_at(0.02),
        held_at(0.10),
        held_at(0.12),
    ]
    rewards = [task.shaped_reward(state) for state in stages]
    assert rewards == sorted(rewards)
    assert len(set(rewards)) == len(rewards)
    assert rewards[0] >= 0.0
    assert rewards[-1] == pytest.approx(1.0)
    assert task.shaped_reward(held_at(0.3)) <= 1.0


def test_a_badly_held_object_pays_more_than_one_between_open_fingers() -> None:
    badly = replace(HELD, object_position=(0.55, 0.05, -0.02), object_height_m=-0.01)
    assert task.shaped_reward(badly) > task.shaped_reward(AROUND)


def test_the_reward_is_continuous_in_distance_and_height() -> None:
    steps_m = np.arange(0.0, 0.3, 0.001)
    reach = [task.shaped_reward(replace(STATE, ee_position=(0.5, 0.0, 0.02 + s))) for s in steps_m.tolist()]
    lift = [task.shaped_reward(held_at(s)) for s in steps_m.tolist()]
    gaps_m = np.arange(0.0, observation.GAP_MAX_M, 0.001).tolist()
    grasp = [
        task.shaped_reward(replace(HELD, left_gap=beside(gap), right_gap=beside(-gap))) for gap in gaps_m
    ]
    one = [task.shaped_reward(replace(STATE, left_gap=beside(gap))) for gap in gaps_m]
    assert len(set(one)) == 1  # a finger that pushes, the other one far away
    assert np.abs(np.diff(grasp)).max() < 0.015
    assert np.abs(np.diff(reach)).max() < 0.01
    assert np.abs(np.diff(lift)).max() < 0.01


@pytest.mark.parametrize(
    ("left", "right", "height_m", "expected"),
    [
        (True, True, 0.1, True),
        (True, True, 0.0999, False),
        (True, False, 0.2, False),
        (False, True, 0.2, False),
        (False, False, 0.2, False),
    ],
)
def test_success_needs_height_and_both_fingers(
    left: bool, right: bool, height_m: float, expected: bool
) -> None:
    state = replace(held_at(height_m), left_contact=left, right_contact=right)
    assert task.is_success(state) is expected
    assert task.sparse_reward(state) == float(expected)


def test_an_object_is_lost_outside_of_the_workspace_and_where_it_is_not_a_number() -> None:
    for position in (STATE.object_position, (0.29, 0.0, 0.3), (0.71, 0.26, 0.3)):
        assert not task.is_lost(replace(STATE, object_position=position))
    for position in ((0.21, 0, 0), (0.79, 0, 0), (0.5, 0.34, 0), (0.5, -0.34, 0), (0.5, 0, -1), (0.5, 0, 1)):
        assert task.is_lost(replace(STATE, object_position=position))
    assert task.is_lost(replace(STATE, object_position=(math.nan, 0.0, 0.0)))
