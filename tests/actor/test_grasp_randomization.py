"""Domain randomization: off by default, deterministic by seed, and refused in one line when wrong."""

from typing import Any

import numpy as np
import pybullet
import pytest

from graspfleet.actor.grasp import GraspEnv
from graspfleet.actor.grasp.randomization import ALL, Randomization, randomization

ACTIONS = np.random.default_rng(3).uniform(-1, 1, (20, 5)).astype(np.float32)


def episode(seed: int | None = 0, **settings: Any) -> tuple[GraspEnv, list[np.ndarray[Any, Any]]]:
    env = GraspEnv(physics="fast", **settings)
    seen = [env.reset(seed=seed)[0]]
    seen += [env.step(action)[0] for action in ACTIONS]
    return env, seen


def dynamics(env: GraspEnv) -> tuple[float, float, tuple[float, ...]]:
    mass, friction, inertia, *_ = pybullet.getDynamicsInfo(
        env.scene.body, -1, physicsClientId=env.scene.simulation.client
    )
    return mass, friction, inertia


def test_it_is_off_by_default() -> None:
    _, plain = episode()
    _, nothing = episode(randomize={})
    np.testing.assert_array_equal(plain, nothing)


def test_the_same_seed_draws_the_same_and_another_seed_differs() -> None:
    _, first = episode(randomize="all")
    _, again = episode(randomize="all")
    _, other = episode(seed=1, randomize="all")
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_it_does_not_leak_from_one_episode_into_the_next() -> None:
    env, _ = episode(seed=9, randomize="all", objects="random:3")
    env.reset(seed=0)
    seen = [env.step(action)[0] for action in ACTIONS]
    _, fresh = episode(randomize="all", objects="random:3")
    np.testing.assert_array_equal(seen, fresh[1:])
    env.reinit()
    env.reset(seed=0)
    np.testing.assert_array_equal([env.step(action)[0] for action in ACTIONS], fresh[1:])


def test_mass_and_friction_are_factors_of_the_objects_own() -> None:
    plain, _ = episode()
    env, _ = episode(randomize={"mass": [3, 3], "friction": [0.5, 0.5]})
    (mass, friction, inertia), (own_mass, own_friction, own_inertia) = dynamics(env), dynamics(plain)
    assert mass == pytest.approx(3 * own_mass)
    assert friction == pytest.approx(0.5 * own_friction)
    assert inertia == pytest.approx([3 * moment for moment in own_inertia])
    for seed in range(3):
        env.reset(seed=seed)
        assert dynamics(env)[0] == pytest.approx(3 * own_mass), "a factor must not be applied twice"


def test_finger_force_limits_how_hard_they_press() -> None:
    env, _ = episode(randomize={"finger_force_n": [2, 2]})
    assert env.scene.robot._forces[-2:] == (2.0, 2.0)


def test_the_start_differs_and_stays_above_the_table() -> None:
    env = GraspEnv(physics="fast", randomize={"start_m": [-0.1, 0.1], "start_yaw_rad": [0.4, 0.4]})
    starts = []
    for seed in range(30):
        env.reset(seed=seed)
        measured = env.scene.robot.measure()
        starts.append(measured.position)
        assert np.arctan2(measured.rotation[3], measured.rotation[0]) == pytest.approx(0.4, abs=1e-3)
    assert np.ptp(starts, axis=0)[:2].min() > 0.15
    assert np.min(starts, axis=0)[2] > 0.149


def test_noise_is_on_what_is_seen_and_not_on_what_is() -> None:
    _, plain = episode()
    env, noisy = episode(randomize={"noise": [0.05, 0.05]})
    difference = np.subtract(noisy, plain)
    assert 0.03 < difference.std() < 0.06
    assert np.abs(noisy).max() <= 1.0
    assert all(observation in env.observation_space for observation in noisy)


def test_delay_shifts_what_actions_do() -> None:
    env = GraspEnv(physics="fast", randomize={"delay_steps": [2, 2]})
    env.reset(seed=0)
    close = np.array([0, 0, 0, 0, -1], np.float32)
    commands = [float(env.step(close)[0][11]) for _ in range(4)]
    assert commands == [1.0, 1.0, -1.0, -1.0]


def test_drawn_values_are_within_their_ranges() -> None:
    rng = np.random.default_rng(0)
    samples = [ALL.draw(rng) for _ in range(200)]
    for name in ("mass", "friction", "finger_force_n", "start_yaw_rad", "noise", "delay_steps"):
        values = [getattr(sample, name) for sample in samples]
        low, high = getattr(ALL, name)
        assert low <= min(values) < max(values) <= high


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("some", "randomize='some'.*allowed: all"),
        ({"weight": [1, 2]}, "'weight' is unknown; allowed: mass, friction"),
        ({"mass": [2, 1]}, r"mass=\[2, 1\].*first number must not be larger"),
        ({"mass": [0, 1]}, r"mass=\[0, 1\].*greater than or equal to 0.1"),
        ({"mass": 2}, "mass=2: allowed: two numbers"),
        ({"delay_steps": [0, 0.5]}, r"delay_steps=\[0, 0.5\].*integer"),
        ({"noise": [0, float("nan")]}, r"noise=\[0, nan\]"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_value(setting: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        GraspEnv(randomize=setting)
    assert "\n" not in str(caught.value)


def test_ranges_can_be_given_by_name() -> None:
    assert randomization({"mass": [0.5, 2]}) == Randomization(mass=(0.5, 2.0))
