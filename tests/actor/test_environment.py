"""Any flat-Box environment: actions scaled, spec read off, everything else refused in one line."""

import contextlib
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, Sequence, Text
from numpy.typing import NDArray

from graspfleet.actor.environment import Environment
from graspfleet.actor.spaces import MAX_ACTION_BOUND
from graspfleet.common.errors import BrokenEpisodeError, ConfigError
from graspfleet.common.observations.fields import MAX_DIM
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from graspfleet.common.specs import MAX_MAGNITUDE, EnvSpec
from tests.fakes import ONE_LINE, FakeEnv

RETURNS = ReturnConfig(discount=0.9, n_step=2)


def make(env: str = "Fake-v0", *env_args: str, **settings: Any) -> Environment:
    return Environment(EnvConfig(env=env, env_args=env_args, **settings), RETURNS)


def fake(environment: Environment) -> FakeEnv:
    env = environment.env.unwrapped
    assert isinstance(env, FakeEnv)
    return env


def test_the_spec_is_read_off_the_environment() -> None:
    assert make().spec == EnvSpec(
        env="Fake-v0",
        obs_dim=3,
        action_dim=2,
        discount=0.9,
        n_step=2,
        action_low=(-1.0, 0.0),
        action_high=(3.0, 10.0),
    )


@pytest.mark.parametrize(
    ("action", "scaled"),
    [([-1, -1], [-1, 0]), ([1, 1], [3, 10]), ([0, 0], [1, 5]), ([0.5, -0.5], [2, 2.5]), ([-2, 2], [-1, 10])],
)
def test_actions_are_scaled_to_asymmetric_bounds(action: list[float], scaled: list[float]) -> None:
    env = make()
    env.reset(0)
    env.step(np.array(action, np.float32))
    taken = fake(env).actions[0]
    assert taken == pytest.approx(scaled)
    assert taken.dtype == np.float32
    assert fake(env).action_space.contains(taken)


class UnitEnv(FakeEnv):
    """Takes actions in [-1, 1], and changes them; its observations are `number`."""

    number = 0.0

    def __init__(self, **settings: Any) -> None:
        super().__init__(action_space=Box(-1.0, 1.0, (2,), np.float64), **settings)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        result = super().step(action)
        action[:] = 9.0
        return result

    def _obs(self) -> NDArray[np.float32]:
        return np.full(3, self.number, np.float32)


gymnasium.register("Unit-v0", entry_point=UnitEnv)


def test_actions_in_unit_bounds_reach_the_environment_as_they_are_and_stay_ours() -> None:
    env, action = make("Unit-v0"), np.array([-1.0, 0.25], np.float32)
    env.reset(0)
    env.step(action)
    taken = fake(env).actions[0]
    assert (taken.dtype, taken.tolist(), action.tolist()) == ("f8", [-1.0, 0.25], [-1.0, 0.25])


@pytest.mark.parametrize(
    ("number", "sound"),
    [(5000.0, True), (-MAX_MAGNITUDE, True), (2 * MAX_MAGNITUDE, False), (1e30, False), (-np.inf, False)],
)
def test_observations_are_bounded_one_by_one(
    number: float, sound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = make("Unit-v0")
    env.reset(0)
    monkeypatch.setattr(UnitEnv, "number", number)
    for begin in (lambda: env.reset(1), lambda: env.step(np.zeros(2, np.float32))):
        with contextlib.nullcontext() if sound else pytest.raises(BrokenEpisodeError):
            begin()


def test_a_step_returns_plain_values_in_float32() -> None:
    env = make("Fake-v0", "length=1", "success=true")
    obs = env.reset(1007).vector
    next_obs, reward, terminated, truncated, info = env.step(np.zeros(2, np.float32))
    next_obs = next_obs.vector
    assert (obs.dtype, obs.tolist(), next_obs.dtype, next_obs.tolist()) == ("f4", [1, 0, 7], "f4", [1, 1, 7])
    assert (reward, terminated, truncated, bool(info["is_success"])) == (1.0, False, True, True)
    assert type(terminated) is bool


def test_arguments_and_episode_length_reach_the_environment() -> None:
    env = make("Fake-v0", "length=50", max_episode_steps=2)
    env.reset(0)
    ends = [env.step(np.zeros(2, np.float32))[3] for _ in range(2)]
    assert ends == [False, True]


def test_a_package_is_imported_for_its_environment() -> None:
    assert make("tests.fakes:Fake-v0").spec.obs_dim == 3


def test_nan_is_an_error_that_spoils_only_the_episode() -> None:
    env = make("Fake-v0", "broken=[1]")
    env.reset(0)
    with pytest.raises(BrokenEpisodeError, match="nan in an observation, at index 0"):
        env.step(np.zeros(2, np.float32))


@pytest.mark.parametrize("reward", ["2.0e+7", "1.0e+31", "-1.0e+300", ".inf", ".nan"])
def test_a_reward_that_no_record_could_hold_is_an_error_too(reward: str) -> None:
    env = make("Fake-v0", f"reward={reward}")
    env.reset(0)
    with pytest.raises(BrokenEpisodeError):
        env.step(np.zeros(2, np.float32))


def test_reinit_is_called_where_there_is_one() -> None:
    env = make()
    env.reinit()
    assert fake(env).calls == ["reinit"]
    make("Pendulum-v1").reinit()


def refusal(env: str, *env_args: str) -> str:
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        make(env, *env_args)
    assert env in str(caught.value)
    assert "--env" in str(caught.value)
    return str(caught.value)


FLAT = Box(-1, 1, (2,), np.float32)


def spoilt(low: float) -> Box:
    """Return a Box whose lower bounds were set to `low` after it was made."""
    box = Box(-1, 1, (2,), np.float32)
    box.low[:] = low
    return box


UNFIT: dict[str, dict[str, gymnasium.Space[Any]]] = {
    "discrete-action": {"action_space": Discrete(3)},
    "text-observation": {"observation_space": Text(3)},
    "sequence-in-a-dict": {"observation_space": Dict({"a": FLAT, "b": Sequence(FLAT)})},
    "nothing-in-a-dict": {"observation_space": Dict({"a": Dict({})})},
    "large-image-in-a-dict": {
        "observation_space": Dict({"a": FLAT, "b": Box(0, 255, (2048, 2048, 3), np.uint8)})
    },
    "dict-action": {"action_space": Dict({"a": FLAT})},
    "large-image": {"observation_space": Box(0, 255, (4096, 2048), np.uint8)},
    "2-d-action": {"action_space": Box(-1, 1, (2, 2), np.float32)},
    "unbounded-action": {"action_space": Box(-np.inf, np.inf, (2,), np.float32)},
    "half-bounded-action": {"action_space": Box(0, np.inf, (2,), np.float32)},
    "action-as-good-as-unbounded": {"action_space": Box(-1.7e308, 1.7e308, (2,), np.float64)},
    "action-as-good-as-unbounded-in-float32": {"action_space": Box(-3e38, 3e38, (2,), np.float32)},
    "action-of-nan-bounds": {"action_space": spoilt(np.nan)},
    "action-of-crossed-bounds": {"action_space": spoilt(2.0)},
    "int32-action": {"action_space": Box(-1, 1, (2,), np.int32)},
    "int8-action": {"action_space": Box(0, 1, (2,), np.int8)},
    "bool-action": {"action_space": Box(0, 1, (2,), np.bool_)},
    "empty-action": {"action_space": Box(-1, 1, (0,), np.float32)},
    "empty-observation": {"observation_space": Box(-1, 1, (0,), np.float32)},
    "endless-observation": {"observation_space": Box(-1, 1, (MAX_DIM + 1,), np.float32)},
}


@pytest.mark.parametrize("name", UNFIT)
def test_spaces_that_do_not_fit_are_refused(name: str) -> None:
    gymnasium.register(f"{name}-v0", entry_point=FakeEnv, kwargs=UNFIT[name])
    try:
        assert "allowed" in refusal(f"{name}-v0")
    finally:
        del gymnasium.registry[f"{name}-v0"]


@pytest.mark.parametrize("role", ["observation", "action"])
def test_a_space_that_is_missing_is_refused(role: str) -> None:
    class Bare(FakeEnv):
        def __init__(self, **settings: Any) -> None:
            super().__init__()
            delattr(self, f"{role}_space")

    gymnasium.register("Bare-v0", entry_point=Bare)
    try:
        assert f"{role} space is None" in refusal("Bare-v0")
    finally:
        del gymnasium.registry["Bare-v0"]


@pytest.mark.parametrize(
    ("space", "action", "taken"),
    [
        (Box(-1, 1, (2,), np.float16), [0.1, -1], [0.1, -1]),
        (Box(0.5, 0.5, (2,), np.float32), [-1, 1], [0.5, 0.5]),
        (Box(-MAX_ACTION_BOUND, MAX_ACTION_BOUND, (2,), np.float64), [0.5, 1], [5e8, 1e9]),
    ],
)
def test_bounded_boxes_of_every_float_are_taken(space: Box, action: list[float], taken: list[float]) -> None:
    gymnasium.register("Box-v0", entry_point=FakeEnv, kwargs={"action_space": space})
    try:
        env = make("Box-v0")
        env.reset(0)
        env.step(np.array(action, np.float32))
    finally:
        del gymnasium.registry["Box-v0"]
    got = fake(env).actions[0]
    assert got.dtype == space.dtype
    assert got == pytest.approx(np.array(taken), rel=1e-3)


@pytest.mark.parametrize(
    "env", ["Nonsense-v0", "no_such_package:Id-v0", "not an id", "", "Pendulum-v99", "::"]
)
def test_an_unknown_environment_is_refused(env: str) -> None:
    refusal(env)


@pytest.mark.parametrize("word", ["unlucky=true", "no_such_argument=1"])
def test_arguments_that_the_environment_refuses_are_named(word: str) -> None:
    assert word.partition("=")[0] in refusal("Fake-v0", word)


def test_an_argument_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="--env-args nonsense"):
        make("Fake-v0", "nonsense")
