"""Scaled observations: exact statistics, a policy that needs no scaling, and resuming."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.specs import Records
from graspfleet.learner.experience.replay import Replay
from graspfleet.learner.normalization import MIN_RATIO, MIN_STD, Normalized
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.settings import SACConfig
from tests.fakes import SPEC, make_records

CAPACITY = 6000


def records(count: int, seed: int) -> Records:
    """Return transitions whose observations have very different scales."""
    rows = make_records(count)
    rng = np.random.default_rng(seed)
    scale, mean = np.geomspace(1e-3, 1e3, SPEC.obs_dim), np.linspace(-50, 50, SPEC.obs_dim)
    for name in ("obs", "next_obs"):
        rows[name] = mean + scale * rng.standard_normal(rows[name].shape)
    return rows


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    return Replay(tmp_path / "replay", SPEC, CAPACITY, np.random.default_rng(0))


class Recorded:
    """An algorithm that keeps what it was given."""

    def __init__(self) -> None:
        self.batches: list[Records] = []
        self.agent = SAC(SPEC, SACConfig(hidden_dim=8), seed=1)

    def update(self, batches: Records) -> Mapping[str, Any]:
        self.batches.append(batches.copy())
        return {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.agent, name)


def divisors(obs: Any) -> Any:
    mean = obs.astype(np.float64).mean(axis=0)
    return np.maximum(obs.astype(np.float64).std(axis=0), np.maximum(MIN_STD, MIN_RATIO * np.abs(mean)))


def test_batches_are_scaled_by_what_was_inserted_and_by_nothing_else(replay: Replay) -> None:
    inner, everything = Recorded(), []
    algorithm = Normalized(inner, replay, SPEC)
    for seed, count in enumerate((1, 2, 500, 4000, 4000)):  # more than the replay holds
        everything.append(records(count, seed))
        replay.insert(everything[-1])
        algorithm.update(records(8, 99).reshape(1, 8))
    obs = np.concatenate([part["obs"] for part in everything])
    raw, seen = records(8, 99), inner.batches[-1][0]
    for name in ("obs", "next_obs"):
        expected = (raw[name] - obs.astype(np.float64).mean(axis=0)) / divisors(obs)
        np.testing.assert_allclose(seen[name], expected, rtol=2e-3, atol=2e-3)
    for name in ("action", "reward", "discount", "terminated"):
        assert (seen[name] == raw[name]).all()


def test_the_policy_takes_observations_as_they_are(replay: Replay) -> None:
    inner = Recorded()
    algorithm = Normalized(inner, replay, SPEC)
    replay.insert(records(2000, 0))
    algorithm.update(records(8, 1).reshape(1, 8))
    raw = records(64, 2)["obs"]
    inserted = replay.read(0, 2000)["obs"].astype(np.float64)
    scaled = (raw - inserted.mean(axis=0)) / divisors(inserted)

    def act(arrays: Mapping[str, Any], obs: Any) -> Any:
        policy = NumpyPolicy(arrays, SPEC, np.random.default_rng(0))
        return policy.act(np.ascontiguousarray(obs, np.float32), deterministic=True)

    got = act(algorithm.policy().arrays(), raw)
    np.testing.assert_allclose(got, act(inner.agent.policy().arrays(), scaled), atol=1e-3)
    assert algorithm.policy().ema() == {}


def test_an_observation_that_never_changes_stays_at_zero(replay: Replay) -> None:
    rows = records(100, 0)
    rows["obs"][:, 0] = 7.0
    rows["next_obs"][:, 0] = 7.0
    replay.insert(rows)
    inner = Recorded()
    Normalized(inner, replay, SPEC).update(rows[:4].reshape(1, 4).copy())
    assert (inner.batches[0]["obs"][..., 0] == 0).all()
    assert np.isfinite(inner.batches[0]["obs"]).all()


def test_a_resumed_run_goes_on_with_the_same_statistics(replay: Replay) -> None:
    one = Normalized(Recorded(), replay, SPEC)
    replay.insert(records(300, 0))
    one.update(records(4, 1).reshape(1, 4))
    two = Normalized(Recorded(), replay, SPEC)
    two.load_state_dict(one.state_dict())
    replay.insert(records(300, 2))
    for each in (one, two):
        each.update(records(4, 3).reshape(1, 4))
    for name, array in one.policy().arrays().items():
        assert (array == two.policy().arrays()[name]).all(), name


@pytest.mark.parametrize("state", ["algorithm", "mean", "squares", "count"])
def test_a_state_of_another_kind_is_told(replay: Replay, state: str) -> None:
    algorithm = Normalized(Recorded(), replay, SPEC)
    kept = algorithm.state_dict()
    del kept[state]
    with pytest.raises(KeyError):
        algorithm.load_state_dict(kept)
    with pytest.raises(ValueError, match="statistics of"):
        Normalized(Recorded(), replay, SPEC.model_copy(update={"obs_dim": 4})).load_state_dict(
            algorithm.state_dict()
        )
