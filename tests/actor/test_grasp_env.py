"""GraspEnv as its users see it: Gymnasium's rules, replayable runs, ends of episodes, clear refusals."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pybullet
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env

import graspfleet.actor.grasp
from graspfleet.actor.grasp import GraspEnv

REPOSITORY = Path(__file__).parents[2]
STILL = np.zeros(5, np.float32)
PHYSICS = ("default", "fast")


@pytest.fixture
def env() -> Iterator[GraspEnv]:
    environment = GraspEnv(physics="fast")
    yield environment
    environment.shutdown()


def actions(count: int, seed: int = 7) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 5)).astype(np.float32)


@pytest.mark.parametrize("physics", PHYSICS)
def test_it_passes_gymnasiums_checker_without_a_warning(physics: str) -> None:
    check_env(gymnasium.make("Grasp-v0", physics=physics).unwrapped, skip_render_check=True)


def test_pictures_pass_gymnasiums_checker_and_show_something() -> None:
    env = gymnasium.make("Grasp-v0", physics="fast", render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    assert picture.dtype == np.uint8
    assert picture.shape == (360, 480, 3)
    assert picture.std() > 10
    env.close()


def test_registering_twice_is_silent_and_importing_does_not_load_pybullet() -> None:
    graspfleet.actor.grasp.register()
    code = "import sys, graspfleet.actor.grasp; print('pybullet' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_time_limit_truncates_and_does_not_terminate(env: GraspEnv) -> None:
    env.reset(seed=0)
    ends = [env.step(STILL)[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]
    with pytest.raises(ResetNeeded):
        env.step(STILL)
    env.reset()
    env.step(STILL)


def test_the_time_limit_is_a_setting() -> None:
    env = GraspEnv(physics="fast", max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(STILL)[3] for _ in range(3)] == [False, False, True]
    env.close()


@pytest.mark.parametrize("position", [(0.8, 0.0, 0.02), (0.2, 0.0, 0.02), (0.5, 0.35, 0.02), (0.5, 0.0, 0.9)])
def test_losing_the_object_terminates(env: GraspEnv, position: tuple[float, float, float]) -> None:
    env.reset(seed=0)
    place_object(env, position)
    observation, _, terminated, truncated, info = env.step(STILL)
    assert (terminated, truncated, info["is_success"]) == (True, False, False)
    assert observation in env.observation_space
    with pytest.raises(ResetNeeded):
        env.step(STILL)


def place_object(
    env: GraspEnv, position: tuple[float, float, float], velocity: tuple[float, float, float] = (0, 0, 0)
) -> None:
    client = env.scene.simulation.client
    pybullet.resetBasePositionAndOrientation(env.scene.body, position, (0, 0, 0, 1), physicsClientId=client)
    pybullet.resetBaseVelocity(env.scene.body, velocity, (0, 0, 0), physicsClientId=client)


def test_a_thrown_object_is_no_success_and_earns_no_lift(env: GraspEnv) -> None:
    env.reset(seed=0)
    place_object(env, (0.6, 0.1, 0.05), (0, 0, 2.5))
    highest = 0.0
    for _ in range(12):
        observation, reward, _, _, info = env.step(STILL)
        highest = max(highest, float(observation[24]))
        assert not info["is_success"]
        assert reward <= 0.2
    assert highest > 0.10 / 0.2, "it must have been up where a held one would succeed"


@pytest.mark.parametrize("seed", range(4))
def test_a_pushed_object_is_no_success(env: GraspEnv, seed: int) -> None:
    observation, _ = env.reset(seed=seed)
    terminated = truncated = False
    while not (terminated or truncated):
        # Closed fingers, low, driven at the object from the side.
        toward = np.clip(observation[12:14] * (10, -10), -1, 1)
        action = np.array([*toward, -1, 0, -1], np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        assert not info["is_success"]
        assert reward < 0.6


@pytest.mark.parametrize("physics", PHYSICS)
def test_random_actions_stay_in_bounds_and_hardly_ever_succeed(physics: str) -> None:
    env = GraspEnv(physics=physics)
    successes = 0
    for episode in range(100):
        env.reset(seed=episode)
        for action in actions(50, seed=episode):
            observation, reward, terminated, truncated, info = env.step(action)
            assert 0.0 <= reward <= 1.0
            assert np.abs(observation).max() <= 1.0
            if terminated or truncated:
                break
        successes += info["is_success"]
    assert successes == 0
    env.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("physics", PHYSICS)
@pytest.mark.parametrize("objects", ["cube", "primitives", "random", "random-heldout"])
def test_random_actions_hardly_ever_succeed_in_many_episodes(objects: str, physics: str) -> None:
    env = GraspEnv(physics=physics, objects=objects)
    successes = 0
    for episode in range(500):
        env.reset(seed=episode)
        for action in actions(50, seed=episode):
            *_, terminated, truncated, info = env.step(action)
            if terminated or truncated:
                break
        successes += info["is_success"]
    print(f"{objects}, {physics}: {successes} of 500")
    assert successes < 5
    env.close()


def finger_surface(env: GraspEnv, link: int, outwards: float) -> tuple[float, float, float]:
    """Return a point on the outer side of a finger."""
    low, high = pybullet.getAABB(env.scene.robot.body, link, env.scene.simulation.client)
    middle = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    return middle[0], (high if outwards > 0 else low)[1], middle[2]


@pytest.mark.parametrize("link", [9, 10])
def test_an_object_wedged_against_the_outside_of_a_finger_is_no_success(env: GraspEnv, link: int) -> None:
    env.reset(seed=0)
    outwards = {9: -1.0, 10: 1.0}[link]
    highest = 0.0
    for _ in range(15):  # carried up, pressed against one finger all the time
        x, y, z = finger_surface(env, link, outwards)
        place_object(env, (x, y + outwards * 0.019, z), (0, -2 * outwards, 0))
        observation, reward, _, _, info = env.step(np.array([0, 0, 0.5, 0, 1], np.float32))
        highest = max(highest, float(observation[24]) * 0.2)
        assert not info["is_success"]
        assert reward <= 0.2
    assert highest > 0.1


def test_an_object_that_lies_on_the_hand_is_no_success(env: GraspEnv) -> None:
    env.reset(seed=0)
    top = pybullet.getAABB(env.scene.robot.body, 8, env.scene.simulation.client)[1]
    x, y, _ = env.scene.robot.measure().position
    for _ in range(10):
        place_object(env, (x, y + 0.06, top[2] - 0.02))
        observation, _, _, _, info = env.step(STILL)
        assert observation[24] * 0.2 > 0.1
        assert not info["is_success"]


def test_a_tipped_object_is_no_success() -> None:
    env = GraspEnv(physics="fast", objects="random:5")
    env.reset(seed=0)
    client, body = env.scene.simulation.client, env.scene.body
    for axis in np.eye(3):
        upended = (*(axis * np.sin(np.pi / 4)).tolist(), np.cos(np.pi / 4))
        pybullet.resetBasePositionAndOrientation(body, (0.6, 0.1, 0.08), upended, physicsClientId=client)
        pybullet.resetBaseVelocity(body, (0, 0, 0), (0, 0, 0), physicsClientId=client)
        for _ in range(5):
            _, reward, terminated, _, info = env.step(STILL)
            assert not info["is_success"]
            assert reward <= 0.2
            assert not terminated
    env.close()


@pytest.mark.parametrize(
    ("action", "named"),
    [
        (np.zeros(4, np.float32), r"\(4,\)"),
        (np.zeros((1, 5), np.float32), r"\(1, 5\)"),
        (np.array([0, np.nan, 0, 0, 0]), "nan"),
        (np.array([0, 0, np.inf, 0, 0]), "inf"),
        (np.array([0, 0, 0, 1.01, 0]), r"1\.01"),
        (np.array([-1.5, 0, 0, 0, 0]), r"-1\.5"),
    ],
)
def test_a_wrong_action_is_refused_by_its_value(
    env: GraspEnv, action: np.ndarray[Any, Any], named: str
) -> None:
    env.reset(seed=0)
    with pytest.raises(ValueError, match=named):
        env.step(action)
    env.step(np.array([1 + 1e-7, -1 - 1e-7, 0, 0, 0]))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("objects", "spheres"),
        ("physics", "slow"),
        ("reward", "dense"),
        ("render_mode", "ansi"),
        ("max_episode_steps", 0),
    ],
)
def test_a_wrong_setting_is_refused_by_its_value(setting: str, value: str | int) -> None:
    arguments: dict[str, Any] = {setting: value}
    with pytest.raises(ValueError, match=f"{setting}={value!r}"):
        GraspEnv(**arguments)


def test_a_window_without_a_display_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(RuntimeError, match="DISPLAY"):
        GraspEnv(headless=False)
    with pytest.raises(RuntimeError, match="DISPLAY"):
        GraspEnv(render_mode="human")


def test_stepping_before_reset_is_refused(env: GraspEnv) -> None:
    with pytest.raises(ResetNeeded):
        env.step(STILL)


def test_shutdown_can_be_repeated_and_is_final(env: GraspEnv) -> None:
    env.reset(seed=0)
    env.shutdown()
    env.shutdown()
    env.close()
    for use in (env.reset, env.render, env.reinit, lambda: env.step(STILL)):
        with pytest.raises(ClosedEnvironmentError):
            use()


def test_closing_one_environment_leaves_another_alone(env: GraspEnv) -> None:
    other = GraspEnv(physics="fast")
    other.reset(seed=0)
    other.close()
    env.reset(seed=0)
    env.step(STILL)


def test_a_hundred_environments_can_come_and_go() -> None:
    for _ in range(100):
        env = GraspEnv(physics="fast")
        env.close()


def test_sparse_reward_is_the_success() -> None:
    env = GraspEnv(physics="fast", reward="sparse")
    env.reset(seed=0)
    rewards = {env.step(action)[1] for action in actions(20)}
    assert rewards == {0.0}
    env.close()
