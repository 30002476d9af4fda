"""The contract of environments: what comes back is copied, read exactly or refused, and checked first."""

from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from graspfleet.actor.contract import read_reset
from graspfleet.actor.environment import PERMANENT
from graspfleet.actor.episode import EpisodeRunner
from graspfleet.common.errors import BrokenEpisodeError, ConfigError
from graspfleet.common.messages import Batch
from graspfleet.common.observations.reading import read_array
from graspfleet.common.protocol import decode
from graspfleet.common.runtime.seeds import draw_seeds
from graspfleet.common.specs import MAX_MAGNITUDE, Records
from tests.actor.misbehaving_envs import Counting, OwnBuffer, OwnInfo, make, returning
from tests.fakes import ONE_LINE, make_writer

STILL = np.zeros(2, np.float32)
HALF = np.full(2, 0.5, np.float32)


def check(kind: Callable[..., Any]) -> str:
    """Return the refusal of an environment; empty when it passes."""
    try:
        make(kind).check(np.random.default_rng(0))
    except ConfigError as error:
        return str(error)
    return ""


def rows_of(kind: type[Counting], n_step: int) -> Records:
    env = make(kind, n_step=n_step)
    writer = make_writer(env.spec, max_batch_transitions=1000)
    runner = EpisodeRunner(env, writer, draw_seeds(np.random.default_rng(1)), 100)
    for _ in range(kind.length):
        runner.step(HALF)
    writer.seal()
    frame = writer.next_frame(0.0)
    assert frame is not None
    batch = decode(frame)
    assert isinstance(batch, Batch)
    return batch.records(env.spec)


def check_rows(kind: type[Counting], n_step: int) -> None:
    rows = rows_of(kind, n_step)
    starts = np.arange(kind.length)
    np.testing.assert_array_equal(rows["obs"][:, 0], starts)
    np.testing.assert_array_equal(rows["next_obs"][:, 0], np.minimum(starts + n_step, kind.length))
    assert (rows["action"] == 0.5).all(), "actions are changed in place, too"


@pytest.mark.parametrize("n_step", [1, 3])
def test_whatever_an_environment_does_with_its_arrays_the_rows_are_right(n_step: int) -> None:
    check_rows(OwnBuffer, n_step)


def test_success_is_read_before_the_environment_goes_on() -> None:
    env = make(OwnInfo)
    writer = make_writer(env.spec, max_batch_transitions=1000)
    runner = EpisodeRunner(env, writer, draw_seeds(np.random.default_rng(1)), 100)
    for _ in range(2 * OwnInfo.length):
        runner.step(STILL)
    assert [episode[2] for episode in writer._episodes] == [True, True]


OLD_API = {
    "reset-observation-alone": (returning(reset=lambda obs, info: obs), ["reset()", "shape (3,)", "info"]),
    "step-of-four": (returning(step=lambda *all: (*all[:3], all[4])), ["step()", "tuple of 4"]),
    "step-of-none": (returning(step=lambda *all: None), ["step()", "None"]),
    "reset-of-none": (returning(reset=lambda obs, info: None), ["reset()", "None"]),
    "info-none-in-reset": (
        returning(reset=lambda obs, info: (obs, None)),
        ["reset()", "None as info", "dict"],
    ),
    "info-none-in-step": (returning(step=lambda *all: (*all[:4], None)), ["step()", "None as info", "dict"]),
}


def first(value: Any) -> type[Counting]:
    return returning(reset=lambda obs, info: (value, info))


def rewards(value: Any) -> type[Counting]:
    return returning(step=lambda obs, reward, *rest: (obs, value, *rest))


def ends(value: Any) -> type[Counting]:
    return returning(step=lambda obs, reward, terminated, *rest: (obs, reward, value, *rest))


BAD_VALUES = {
    "longer-observation": (first(np.zeros(5, np.float32)), ["shape (5,)", "shape (3,)"]),
    "deeper-observation": (first(np.zeros((1, 3), np.float32)), ["shape (1, 3)", "shape (3,)"]),
    "scalar-observation": (first(1.0), ["shape (3,)"]),
    "dict-observation": (first({"state": [0, 0, 0]}), ["dict", "shape (3,)"]),
    "text-observation": (first(["1", "2", "3"]), ["list of 3"]),
    "complex-observation": (first(np.zeros(3, complex)), ["complex128"]),
    "object-observation": (first(np.array([0, 0, None])), ["object"]),
    "ragged-observation": (first([[0], [0, 1], 2]), ["list of 3"]),
    "none-observation": (first(None), ["None"]),
    "array-reward": (rewards(np.array([-1.0])), ["shape (1,)", "reward", "a number"]),
    "none-reward": (rewards(None), ["None as reward"]),
    "text-reward": (rewards("1"), ["'1' as reward"]),
    "complex-reward": (rewards(1j), ["as reward"]),
    "array-end": (ends(np.array([False])), ["terminated", "a bool"]),
    "none-end": (ends(None), ["None as terminated", "a bool"]),
    "integer-end": (ends(0), ["int 0 as terminated", "a bool"]),
}


@pytest.mark.parametrize("name", [*OLD_API, *BAD_VALUES])
def test_what_no_environment_may_return_is_found_at_the_start_in_one_line(name: str) -> None:
    kind, words = {**OLD_API, **BAD_VALUES}[name]
    refusal = check(kind)
    assert refusal.startswith("--env Returning-v0: ")
    assert "\n" not in refusal
    for word in words:
        assert word in refusal


GOOD_VALUES = {
    "list": [1, 2, 3],
    "tuple": (1.0, 2.0, 3.0),
    "float64": np.array([1.0, 2.0, 3.0]),
    "float16": np.array([1, 2, 3], np.float16),
    "big-endian": np.array([1, 2, 3], ">f4"),
    "integers": np.array([1, 2, 3]),
    "bytes": np.array([1, 2, 3], np.uint8),
    "strided": np.arange(6.0)[::2] / 2 + 1,
}


@pytest.mark.parametrize("name", GOOD_VALUES)
def test_what_float32_can_hold_is_taken(name: str) -> None:
    env = make(first(GOOD_VALUES[name]))
    obs = env.reset(0).vector
    assert obs.dtype == np.float32
    assert obs.tolist() == np.asarray(GOOD_VALUES[name]).tolist()


@pytest.mark.parametrize("reward", [np.float32(1), np.int64(1), 1, True, np.bool_(True)])
def test_numbers_of_every_kind_are_rewards(reward: Any) -> None:
    env = make(rewards(reward))
    env.reset(0)
    got = env.step(STILL)[1]
    assert (got, type(got)) == (1.0, float)


@pytest.mark.parametrize("number", [1 << 24, -(1 << 24)])
def test_integers_are_taken_as_far_as_float32_tells_them_apart(number: int) -> None:
    assert make(first(np.array([0, 0, number]))).reset(0).vector[2] == number
    for beyond in (2 * number, number + (1 if number > 0 else -1)):
        with pytest.raises(BrokenEpisodeError, match="index 2"):
            make(first(np.array([0, 0, beyond]))).reset(0)


@pytest.mark.parametrize("number", [-(2**63), 2**63 - 1])
def test_the_largest_integers_do_not_wrap(number: int) -> None:
    with pytest.raises(BrokenEpisodeError, match="index 0"):
        make(first(np.array([number, 0, 0], np.int64))).reset(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [3, 500])
def test_every_number_up_to_the_largest_is_taken_and_none_beyond(dtype: Any, size: int) -> None:
    full = np.full(size, -MAX_MAGNITUDE, dtype)
    assert (read_reset((full, {}), partial(read_array, shape=(size,))) == full).all()
    for number in (
        np.nextafter(np.float32(MAX_MAGNITUDE), np.float32(np.inf)),
        3e38,
        np.inf,
        -np.inf,
        np.nan,
    ):
        full = np.zeros(size, dtype)
        full[size - 1] = number
        with pytest.raises(BrokenEpisodeError, match=f"index {size - 1}"):
            read_reset((full, {}), partial(read_array, shape=(size,)))


def test_a_float64_beyond_float32_is_no_warning_but_a_broken_episode() -> None:
    with pytest.raises(BrokenEpisodeError, match="1e\\+300"):
        make(first(np.array([0, 1e300, 0]))).reset(0)


@pytest.mark.parametrize("reward", [-1e9, np.nan, np.inf, 2 * MAX_MAGNITUDE])
def test_a_reward_that_is_always_too_large_ends_in_one_line_with_its_value(reward: float) -> None:
    refusal = check(rewards(reward))
    assert f"a reward of {reward:g}" in refusal
    assert "in a row" in refusal
    assert "\n" not in refusal


class Raises(Counting):
    """Its first `count` resets raise."""

    count, error = 0, RuntimeError

    def __init__(self) -> None:
        super().__init__()
        self.seeds: list[int | None] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.seeds.append(seed)
        if len(self.seeds) <= self.count:
            raise self.error("no solution")
        return super().reset(seed=seed)


def test_a_first_reset_that_raises_is_tried_with_other_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Raises, "count", 3)
    env = make(Raises)
    env.check(np.random.default_rng(0))
    inner = env.env.unwrapped
    assert isinstance(inner, Raises)
    assert len(set(inner.seeds)) == len(inner.seeds) == 4


@pytest.mark.parametrize("error", PERMANENT)
def test_an_error_that_no_other_seed_mends_is_not_tried_again(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Raises, "count", 1)
    monkeypatch.setattr(Raises, "error", error)
    refusal = check(Raises)
    assert error.__name__ in refusal
    assert "test_contract.py:" in refusal, "the line that raised"


class UnspeakableError(Exception):
    """Cannot be shown, and neither can be what holds it."""

    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__


def test_values_and_errors_that_cannot_be_shown_are_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Raises, "count", 99)
    monkeypatch.setattr(Raises, "error", type("UnspeakableError", (UnspeakableError, TypeError), {}))
    for refusal in (check(first(UnspeakableError())), check(Raises)):
        assert "cannot be shown" in refusal
        assert "\n" not in refusal


def test_the_check_leaves_the_streams_of_the_episodes_alone() -> None:
    env = make(Counting)
    env.check(np.random.default_rng(7))
    assert env.patience.broken == 0
    assert env.reset(5).vector.tolist() == [0, 0, 0]


def test_an_observation_outside_its_space_is_said(caplog: pytest.LogCaptureFixture) -> None:
    class Narrow(Counting):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space.low[:] = 1  # type: ignore[attr-defined]

    make(Narrow).check(np.random.default_rng(0))
    assert "outside its space" in caplog.text


def test_errors_of_close_are_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Closes(Counting):
        def close(self) -> None:
            raise SystemExit("not connected")

    make(Closes).close()
    assert "close() raised SystemExit: not connected" in caplog.text


@pytest.mark.parametrize("kind", [SystemExit, CancelledError, BaseException])
@pytest.mark.parametrize("call", ["reset", "step", "reinit", "render"])
def test_what_foreign_code_raises_costs_an_episode(call: str, kind: type[BaseException]) -> None:
    class Broken(Counting):
        pass

    def broken(self: Any, *_: Any, **__: Any) -> None:
        raise kind(1)

    env = make(Broken)
    env.reset(0)
    setattr(Broken, call, broken)
    calls: dict[str, Callable[[], Any]] = {
        "reset": lambda: env.reset(0),
        "step": lambda: env.step(STILL),
        "reinit": env.reinit,
        "render": env.render,
    }
    with pytest.raises(BrokenEpisodeError, match=ONE_LINE):
        calls[call]()
