"""The depth camera of GraspEnv: its geometry against equations, its faults one by one, and its
determinism."""

import math
import re
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pybullet
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

from graspfleet.actor.grasp import GraspEnv
from graspfleet.actor.grasp.depth import faults, optics
from graspfleet.actor.grasp.depth.optics import CAMERAS, Optics, Pose
from graspfleet.actor.grasp.depth.sensor import DepthSensor
from graspfleet.actor.grasp.depth.world import MESHES, CameraWorld
from graspfleet.actor.grasp.observer import PROPRIO
from graspfleet.actor.grasp.robot import FINGER_JOINTS, WORKSPACE_HIGH_M
from graspfleet.actor.grasp.scene import LOADS_PER_WORLD, Poses
from graspfleet.common.evaluation.policy_files import read_weights
from graspfleet.common.policy import NumpyPolicy
from tests.actor.test_grasp_determinism import actions, run_digest

Image = NDArray[np.uint8]
STEP = {name: mount.step_m for name, mount in CAMERAS.items()}
EXACT = faults.SensorRanges().draw(np.random.default_rng(0))


def depth_env(**arguments: Any) -> GraspEnv:
    return GraspEnv(**{"physics": "fast", "observation": "both", **arguments})


def image_of(observation: Any) -> Image:
    (image,) = (each for name, each in observation.items() if name.endswith("depth"))
    return np.asarray(image[..., 0])


def sensor_of(env: GraspEnv) -> DepthSensor:
    sensor = env._observer._sensor
    assert sensor is not None
    return sensor


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize(("form", "sensor"), [("depth", None), ("both", None), ("depth", "all")])
def test_it_passes_gymnasiums_checker_without_a_warning(camera: str, form: str, sensor: str | None) -> None:
    arguments = {"physics": "fast", "observation": form, "camera": camera, "sensor": sensor}
    check_env(gymnasium.make("Grasp-v0", **arguments).unwrapped, skip_render_check=True)


@pytest.mark.parametrize("objects", ["cube", "primitives", "random"])
@pytest.mark.parametrize("arguments", [{}, {"camera": "fixed"}, {"sensor": "all", "randomize": "all"}])
def test_the_same_seed_gives_the_same_bits(objects: str, arguments: dict[str, Any]) -> None:
    env, other = (depth_env(objects=objects, **arguments) for _ in range(2))
    expected = run_digest(env, 5)
    assert run_digest(env, 6) != expected
    assert run_digest(env, 5) == expected
    env.reinit()
    assert run_digest(env, 5) == expected == run_digest(other, 5)
    env.close()
    other.close()


def test_a_camera_does_not_change_the_physics() -> None:
    plain, seeing = GraspEnv(physics="fast"), depth_env()
    first, (second, _) = plain.reset(seed=3)[0], seeing.reset(seed=3)
    assert isinstance(second, dict)
    for action in actions(20):
        assert np.array_equal(second["state"], first)
        assert np.array_equal(second["proprio"], np.asarray(first)[PROPRIO])
        first, second = plain.step(action)[0], seeing.step(action)[0]  # type: ignore[assignment]
    plain.close()
    seeing.close()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_pixel_is_sampled_at_its_center(axis: int) -> None:
    """A tilted plane z = 0.3 + 0.5 u, u along a column or row, seen from the origin of its frame."""
    size, slope = 32, 0.5
    lens, world = Optics(size, 60.0), CameraWorld()
    client = world._simulation.client
    shape = pybullet.createVisualShape(
        pybullet.GEOM_BOX, halfExtents=(0.35, 0.35, 1e-4), physicsClientId=client
    )
    turn = np.zeros(3)
    turn[1 - axis] = math.atan(slope) * (-1 if axis == 0 else 1)
    quaternion = pybullet.getQuaternionFromEuler(turn.tolist())
    pybullet.createMultiBody(0, -1, shape, (0, 0, 0.3), quaternion, physicsClientId=client)
    nowhere = Poses(*[((0.0, 0.0, 9.0), (0.0, 0.0, 0.0, 1.0))] * 4)
    rendered = world.depth(nowhere, Pose(np.zeros(3), np.eye(3)), lens)
    along = ((np.arange(size) + 0.5) * 2 / size - 1) * math.tan(math.radians(30))
    expected = 0.3 / (1 - slope * along)
    expected = np.broadcast_to(expected, rendered.shape)
    np.testing.assert_allclose(rendered, expected if axis == 0 else expected.T, atol=5e-4)
    world.close()


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_tables_depth_is_that_of_a_rendered_table(camera: str) -> None:
    env = depth_env(camera=camera)
    env.reset(seed=0)
    pose, lens = sensor_of(env).pose(env.scene.read()), Optics(48, CAMERAS[camera].field_of_view_deg)
    world = CameraWorld()
    client = world._simulation.client
    half = (1.5, 1.5, 0.01)
    shape = pybullet.createVisualShape(pybullet.GEOM_BOX, halfExtents=half, physicsClientId=client)
    pybullet.createMultiBody(0, -1, shape, basePosition=(0.5, 0.0, -0.01), physicsClientId=client)
    rendered = world.depth(env.scene.poses(), pose, lens)
    np.testing.assert_allclose(rendered, lens.table_depth(pose), atol=1e-3)
    world.close()
    env.close()


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_point_is_where_the_documented_equation_puts_it(camera: str) -> None:
    size = 128
    env = depth_env(camera=camera, image_size=size)
    observation, _ = env.reset(seed=4)
    mount, pose = CAMERAS[camera], sensor_of(env).pose(env.scene.read())
    top = np.add(env.scene.poses().object[0], (0.0, 0.0, 0.02))  # middle of the cube's upper face
    x, y, z = pose.rotation.T @ (top - pose.position)
    focal = size / (2 * math.tan(math.radians(mount.field_of_view_deg) / 2))
    column, row = int(size / 2 + focal * x / z), int(size / 2 + focal * y / z)
    assert abs(int(image_of(observation)[row, column]) - z / mount.step_m) <= 1.5
    env.close()


def test_the_hand_is_outside_the_view_of_its_own_camera_and_inside_the_others() -> None:
    hand = CameraWorld("hand")
    for camera, mount in CAMERAS.items():
        env = depth_env(camera=camera)
        seen = 0
        env.reset(seed=0)
        for action in actions(20):
            env.step(action)
            pose = sensor_of(env).pose(env.scene.read())
            depth = hand.depth(env.scene.poses(), pose, Optics(64, mount.field_of_view_deg))
            seen += int((depth < optics.FAR_M - 0.01).sum())
        assert (seen > 0) == (camera == "fixed")
        env.close()
    hand.close()


def test_links_are_where_forward_kinematics_puts_them() -> None:
    env = depth_env()
    env.reset(seed=0)
    for action in actions(10):
        env.step(action)
        poses, robot = env.scene.poses(), env.scene.robot
        links = (8, *FINGER_JOINTS)
        exact = pybullet.getLinkStates(robot.body, links, 0, 1, env.scene.simulation.client)
        for got, link in zip((poses.hand, poses.left_finger, poses.right_finger), exact, strict=True):
            np.testing.assert_allclose(got[0], link[4], atol=1e-9)
            np.testing.assert_allclose(got[1], link[5], atol=1e-9)
    env.close()


def free_client() -> int:
    """Return the number that PyBullet gives to the next client."""
    client: int = pybullet.connect(pybullet.DIRECT)
    pybullet.disconnect(client)
    return client


@pytest.mark.parametrize("mistake", [{"reward": "x"}, {"physics": "x"}, {"randomize": "x"}, {"sensor": "x"}])
def test_a_constructor_that_fails_leaves_no_world_behind(mistake: dict[str, str]) -> None:
    before = free_client()
    with pytest.raises(ValueError, match="unknown"):
        depth_env(**mistake)
    assert free_client() == before


def test_worlds_are_left_after_many_objects_and_closed_with_the_environment() -> None:
    before = free_client()
    env = depth_env(objects="random", image_size=16)
    worlds = set()
    for seed in range(LOADS_PER_WORLD + 5):
        env.reset(seed=seed)
        world = sensor_of(env)._world
        assert world is not None
        worlds.add(id(world._simulation))
        assert pybullet.getNumBodies(world._simulation.client) == 3
    assert len(worlds) == 2
    expected = run_digest(env, 5)
    other = depth_env(objects="random", image_size=16)
    assert run_digest(other, 5) == expected
    for each in (env, other):
        each.close()
        each.close()
    assert free_client() == before


def test_every_pose_of_the_workspace_is_within_the_hand_cameras_range() -> None:
    highest = WORKSPACE_HIGH_M[2] - CAMERAS["hand"].position_m[2]
    straight_down = highest / math.cos(math.radians(20))
    assert straight_down < optics.LEVELS * STEP["hand"]


def test_an_object_between_the_fingers_is_seen_there() -> None:
    env = depth_env(image_size=32)
    empty = image_of(env.reset(seed=0)[0]).astype(int)
    x, y, z = env.scene.read().ee_position
    body, client = env.scene.body, env.scene.simulation.client
    pybullet.resetBasePositionAndOrientation(body, (x, y, z), (0, 0, 0, 1), physicsClientId=client)
    held = sensor_of(env).image(env.scene, env.scene.read(), env.np_random)[..., 0].astype(int)
    rows, columns = np.nonzero(empty - held > 10)
    assert len(rows) > 20
    assert 10 < columns.mean() < 21
    assert rows.mean() > 16
    env.close()


# Faults


@pytest.fixture
def flat() -> NDArray[np.float32]:
    image = np.full((64, 64), 0.25, np.float32)
    image[20:40, 20:40] = 0.20
    return image


def test_no_fault_is_the_exact_depth(flat: NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(faults.faulty(flat, EXACT, np.random.default_rng(0)), flat)


def test_noise_grows_with_the_square_of_the_depth() -> None:
    noisy = EXACT._replace(noise_m=0.004)
    for depth in (0.25, 0.5):
        image = np.full((128, 128), depth, np.float32)
        spread = (faults.faulty(image, noisy, np.random.default_rng(0)) - image).std()
        assert spread == pytest.approx(0.004 * (depth / 0.5) ** 2, rel=0.05)


def test_holes_are_anywhere_and_edges_only_where_the_depth_jumps(flat: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(0)
    holes = faults.faulty(flat, EXACT._replace(hole_prob=0.1), rng) == 0
    assert holes.mean() == pytest.approx(0.1, abs=0.02)
    edges = faults.faulty(flat, EXACT._replace(edge_prob=1.0), rng) == 0
    ring = np.zeros_like(edges)
    ring[19:41, 19:41] = True
    ring[21:39, 21:39] = False
    ring[[19, 19, 40, 40], [19, 40, 19, 40]] = False  # corners touch the square only diagonally
    np.testing.assert_array_equal(edges, ring)


def test_the_cameras_own_steps_round_depths(flat: NDArray[np.float32]) -> None:
    stepped = faults.faulty(flat + np.float32(0.013), EXACT._replace(step_m=0.01), np.random.default_rng(0))
    np.testing.assert_allclose(np.unique(stepped), [0.21, 0.26], atol=1e-6)


def test_a_fault_does_not_change_the_random_numbers_of_the_others(flat: NDArray[np.float32]) -> None:
    states = []
    for changed in (EXACT, EXACT._replace(noise_m=0.01, hole_prob=0.5, edge_prob=0.5, step_m=0.01)):
        rng = np.random.default_rng(0)
        faults.faulty(flat, changed, rng)
        states.append(rng.bit_generator.state)
    assert states[0] == states[1]
    drawn = []
    for ranges in (faults.SensorRanges(), faults.ALL):
        rng = np.random.default_rng(0)
        ranges.draw(rng)
        drawn.append(rng.random())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("delay", [1, 2])
def test_a_late_image_is_that_of_earlier_steps(delay: int) -> None:
    late, prompt = depth_env(sensor={"delay_frames": [delay, delay]}), depth_env(sensor={})
    images = [[image_of(env.reset(seed=3)[0])] for env in (late, prompt)]
    for action in actions(6):
        for env, own in zip((late, prompt), images, strict=True):
            own.append(image_of(env.step(action)[0]))
    lates, prompts = images
    np.testing.assert_array_equal(lates, [prompts[max(0, i - delay)] for i in range(7)])
    late.close()
    prompt.close()


@pytest.mark.parametrize(
    "fault", [{"camera_m": [0.02, 0.02]}, {"camera_rad": [0.1, 0.1]}, {"focal": [1.2, 1.2]}]
)
def test_errors_of_pose_and_focal_length_move_the_image(fault: dict[str, Any]) -> None:
    env, exact = depth_env(sensor=fault, image_size=64), depth_env(image_size=64)
    moved, straight = image_of(env.reset(seed=1)[0]), image_of(exact.reset(seed=1)[0])
    assert (np.abs(moved.astype(int) - straight) > 2).mean() > 0.2
    env.close()
    exact.close()


def test_a_turn_is_about_the_cameras_own_axes() -> None:
    quarter = faults.turned(np.eye(3), (0.0, 0.0, math.pi / 2))
    np.testing.assert_allclose(quarter, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(
        faults.turned(quarter, (math.pi / 2, 0.0, 0.0)) @ (0, 1, 0), (0, 0, 1), atol=1e-12
    )


# Beside it


def test_a_picture_shows_the_cameras_image_beside_the_scene() -> None:
    env = depth_env(render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    picture = env.render()
    assert picture is not None
    assert picture.shape == (360, 840, 3)
    np.testing.assert_array_equal(
        picture[::12, 480::12, 0][:30, :30], image_of(observation)[PLACES][:, PLACES]
    )
    env.close()


PLACES = np.arange(0, 360, 12) * 32 // 360


def test_the_documented_calibration_turns_a_real_cameras_image_into_a_trained_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "grasp-env.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "def as_trained" in block)
    names: dict[str, Any] = {}
    exec(code, names)
    env = depth_env()
    observation, _ = env.reset(seed=4)
    real = np.full((480, 640), 9.0, np.float32)
    pose, state = sensor_of(env).pose(env.scene.read()), env.scene
    fine = Optics(320, 90.0)  # a real camera of 160 px, of which the middle 320 x 320 are in view
    world = CameraWorld(*MESHES)
    world.load(state.model)
    middle = np.minimum(world.depth(state.poses(), pose, fine), fine.table_depth(pose))
    real[80:400, 160:480] = middle
    real[::7, ::5] = 0.0  # no depth
    made = names["as_trained"](real, 160.0, (320.0, 240.0))
    with pytest.raises(ValueError, match="see less than 90 degrees"):
        names["as_trained"](real, 380.0, (320.0, 240.0))
    assert made.shape == observation["depth"].shape  # type: ignore[call-overload]
    differ = np.abs(made[..., 0].astype(int) - image_of(observation)) > 3
    assert differ.mean() < 0.05
    world.close()
    env.close()


# What a policy uses

TRAINED = Path(__file__).parents[2] / "docs" / "results" / "cube-depth"


class Spoiled(gymnasium.ObservationWrapper[Any, Any, Any]):
    """The environment with images of nothing, or with the first image of the episode all the time."""

    def __init__(self, env: Any, kind: str) -> None:
        super().__init__(env)
        self._kind = kind
        self._first: Any = None

    def reset(self, **keywords: Any) -> Any:
        self._first = None
        return super().reset(**keywords)

    def observation(self, observation: Any) -> Any:
        if self._kind == "blank":
            return {**observation, "depth": np.full_like(observation["depth"], 255)}
        if self._kind == "frozen":
            self._first = observation["depth"] if self._first is None else self._first
            return {**observation, "depth": self._first}
        return observation


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "low", "high"), [("whole", 95, 100), ("blank", 0, 5), ("frozen", 0, 5)])
def test_a_trained_policy_uses_every_image(kind: str, low: int, high: int) -> None:
    weights, _ = read_weights(TRAINED / "policy-best.gfp")
    policy = NumpyPolicy(weights.eval_policy, weights.spec, np.random.default_rng(0))
    env = Spoiled(GraspEnv(observation="depth"), kind)
    successes = 0
    for seed in range(100):
        observation, _ = env.reset(seed=seed)
        ended = False
        while not ended:
            vector, pixels = observation["proprio"][None], observation["depth"].reshape(1, -1)
            action = policy.act(vector, pixels, deterministic=True)[0]
            observation, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
        successes += info["is_success"]
    assert low <= successes <= high
    env.close()


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": "pixels"}, "observation='pixels' is unknown; allowed: state, depth, both"),
        ({"camera": "wrist"}, "camera='wrist' is unknown; allowed: hand, fixed"),
        ({"camera": ["hand"]}, "camera=['hand'] is unknown"),
        ({"image_size": 8}, "image_size=8: allowed: an integer, 16 to 256"),
        ({"image_size": 32.0}, "image_size=32.0: allowed: an integer, 16 to 256"),
        ({"image_size": "32"}, "image_size='32': allowed: an integer"),
        ({"observation": "state", "sensor": "all"}, "sensor='all': allowed only with observation=depth"),
        ({"observation": "state", "camera": "fixed"}, "camera='fixed': allowed only with"),
        ({"observation": "state", "image_size": 32}, "image_size=32: allowed only with"),
        ({"sensor": "most"}, "sensor='most' is unknown; allowed: all, or ranges by name"),
        ({"sensor": {1: [0, 1]}}, "sensor: '1' is unknown"),
        ({"sensor": {"holes": [0, 1]}}, "sensor: 'holes' is unknown; allowed: noise_m, hole_prob"),
        ({"sensor": {"hole_prob": [0, 2]}}, "sensor: hole_prob=[0, 2]"),
        ({"sensor": {"noise_m": 0.01}}, "sensor: noise_m=0.01: allowed: two numbers, lowest and highest"),
        ({"sensor": {"noise_m": [0.1, 0.0]}}, "the first number must not be larger"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        depth_env(**arguments)


def test_a_pose_gives_opengls_view() -> None:
    pose = Pose(np.array((0.1, 0.2, 0.5)), CAMERAS["fixed"].rotation())
    view = np.array(pose.view_matrix()).reshape(4, 4).T
    ahead = pose.position + 0.3 * pose.rotation[:, 2]
    np.testing.assert_allclose(view @ (*ahead, 1.0), (0.0, 0.0, -0.3, 1.0), atol=1e-9)
    above = ahead - 0.1 * pose.rotation[:, 1]
    np.testing.assert_allclose(view @ (*above, 1.0), (0.0, 0.1, -0.3, 1.0), atol=1e-9)


def test_the_state_needs_an_episode_and_a_picture_is_a_copy() -> None:
    env = depth_env()
    with pytest.raises(ResetNeeded, match="before reset"):
        _ = env.state_vector
    observation, _ = env.reset(seed=0)
    assert isinstance(observation, dict)
    np.testing.assert_array_equal(env.state_vector, observation["state"])
    observation["depth"][:] = 0
    assert env.image is not None
    assert env.image.any()
    env.close()
