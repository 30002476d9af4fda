"""NumpyPolicy: actions within bounds, and refusal of every array set that is not the spec's policy."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from graspfleet.common.errors import ProtocolError
from graspfleet.common.policy import LOG_STD_MAX, NOISE_STEPS, NumpyPolicy
from graspfleet.common.specs import EnvSpec

SPEC = EnvSpec(env="Fake-v0", obs_dim=6, action_dim=3, discount=0.99, n_step=1)
Arrays = dict[str, NDArray[np.float32]]


def make_arrays(scale: float = 0.5) -> Arrays:
    rng = np.random.default_rng(0)
    shapes = {"w0": (6, 16), "b0": (16,), "w1": (16, 12), "b1": (12,), "w2": (12, 6), "b2": (6,)}
    return {name: rng.normal(0, scale, shape).astype(np.float32) for name, shape in shapes.items()}


def make_policy(arrays: Arrays | None = None, seed: int = 0) -> NumpyPolicy:
    return NumpyPolicy(arrays or make_arrays(), SPEC, np.random.default_rng(seed))


def observations(k: int) -> NDArray[np.float32]:
    return np.random.default_rng(k).uniform(-1, 1, (k, SPEC.obs_dim)).astype(np.float32)


@pytest.mark.parametrize("k", [1, 4, 8])
@pytest.mark.parametrize("deterministic", [False, True])
def test_actions_are_float32_within_bounds(k: int, deterministic: bool) -> None:
    policy = make_policy(make_arrays(scale=3.0))  # far into saturation
    for _ in range(20):
        action = policy.act(observations(k), deterministic=deterministic)
        assert action.shape == (k, SPEC.action_dim)
        assert action.dtype == np.float32
        assert np.abs(action).max() <= 1.0


def test_forward_equals_the_textbook() -> None:
    a, obs = make_arrays(), observations(5)
    hidden = np.maximum(np.maximum(obs @ a["w0"] + a["b0"], 0) @ a["w1"] + a["b1"], 0)
    mean, log_std = np.split(hidden @ a["w2"] + a["b2"], 2, axis=1)
    ours = make_policy().mean_and_log_std(obs)
    np.testing.assert_allclose(ours[0], mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours[1], np.clip(log_std, -20, 2), rtol=1e-5, atol=1e-5)


def test_samples_have_the_gaussian_of_the_policy() -> None:
    arrays = make_arrays(scale=0.1)
    arrays["b2"][3:] = -1.0
    policy, obs = make_policy(arrays), observations(1)
    mean, log_std = policy.mean_and_log_std(obs)
    u = np.arctanh(policy.act(np.repeat(obs, 20_000, axis=0), deterministic=False))
    np.testing.assert_allclose(u.mean(0), mean[0], atol=0.02)
    np.testing.assert_allclose(u.std(0), np.exp(log_std[0]), atol=0.02)


def test_results_survive_the_next_call() -> None:
    policy = make_policy()
    for call in (
        lambda obs: policy.act(obs, deterministic=True),
        lambda obs: policy.act(obs, deterministic=False),
        lambda obs: policy.mean_and_log_std(obs)[0],
    ):
        first = call(observations(2))
        kept = first.copy()
        call(-observations(2))
        assert np.array_equal(first, kept)


def test_no_noise_is_used_twice() -> None:
    policy, obs = make_policy(make_arrays(scale=0.1)), observations(2)
    actions = np.concatenate([policy.act(obs, deterministic=False) for _ in range(3 * NOISE_STEPS)])
    assert len(np.unique(actions[:, 0])) == len(actions)


def test_same_seed_same_actions() -> None:
    obs = observations(3)
    a, b, c = (make_policy(seed=seed).act(obs, deterministic=False) for seed in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_arrays_are_copied_and_may_be_read_only_and_unaligned() -> None:
    plain, arrays = make_arrays(), make_arrays()
    for name, array in arrays.items():  # as in a frame: at any byte, not ours to write
        buffer = b"x" + array.tobytes()
        arrays[name] = np.frombuffer(buffer, np.float32, offset=1).reshape(array.shape)
    obs = observations(2)
    expected = make_policy(plain).act(obs, deterministic=True)
    policy = make_policy(plain)
    plain["w0"][:] = 0
    assert np.array_equal(policy.act(obs, deterministic=True), expected)
    assert np.array_equal(make_policy(arrays).act(obs, deterministic=True), expected)


def with_value(name: str, value: float) -> Callable[[Arrays], object]:
    return lambda arrays: arrays[name].reshape(-1).__setitem__(0, value)


def replaced(name: str, shape: tuple[int, ...], dtype: type = np.float32) -> Callable[[Arrays], object]:
    return lambda arrays: arrays.__setitem__(name, np.zeros(shape, dtype))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays: arrays.pop("b1"),
        lambda arrays: arrays.clear(),
        replaced("w3", (6, 6)),
        replaced("w0", (6, 16), np.float64),
        replaced("b2", (6,), np.int32),
        replaced("w0", (7, 16)),
        replaced("w0", (16,)),
        replaced("w0", (1, 6, 16)),
        replaced("b0", (15,)),
        replaced("b0", (1, 16)),
        replaced("w1", (15, 12)),
        replaced("w2", (12, 7)),
        lambda arrays: arrays.update(w2=np.zeros((12, 8), np.float32), b2=np.zeros(8, np.float32)),
        lambda arrays: arrays.update(
            w0=np.zeros((6, 0), np.float32), b0=np.zeros(0, np.float32), w1=np.zeros((0, 12), np.float32)
        ),
        with_value("w1", np.nan),
        with_value("b0", np.inf),
    ],
)
def test_bad_arrays_are_the_peers_fault(spoil: Callable[[Arrays], object]) -> None:
    arrays = make_arrays()
    spoil(arrays)
    with pytest.raises(ProtocolError) as caught:
        NumpyPolicy(arrays, SPEC, np.random.default_rng(0))
    assert caught.value.reason == "policy"


@pytest.mark.parametrize("obs", [np.zeros((2, 5), np.float32), np.zeros(6, np.float32), np.zeros((2, 6))])
def test_bad_observations_are_refused(obs: NDArray[np.float32]) -> None:
    with pytest.raises(ValueError, match=r"shape|output"):
        make_policy().act(obs, deterministic=True)


def test_log_std_is_clipped() -> None:
    arrays = make_arrays()
    arrays["b2"][3:] = 100.0
    assert (make_policy(arrays).mean_and_log_std(observations(2))[1] == LOG_STD_MAX).all()
