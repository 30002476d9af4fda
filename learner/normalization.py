"""Observations scaled to mean 0 and standard deviation 1, for any algorithm.

In: batches as they were inserted. Out: the same batches, scaled; and a policy that takes observations as the
environment gives them, because its first layer contains the scaling. Must not know: networks, losses, actors.
"""

from collections.abc import Mapping
from typing import Any, SupportsFloat

import numpy as np
import torch
from numpy.typing import NDArray

from graspfleet.common.fields import MAX_ROWS
from graspfleet.common.specs import Records
from graspfleet.learner.algorithm import Algorithm
from graspfleet.learner.experience.replay import Replay
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot

MIN_STD = 1e-5
"""Smallest divisor; an observation that never changes stays 0."""
MIN_RATIO = 1e-3
"""Smallest divisor in units of the mean's magnitude: below it float32 could not hold the difference."""

Vector = NDArray[np.float64]


class Statistics:
    """Mean and variance over everything inserted so far, by Chan's parallel formula.

    Attributes:
        count: observations.
        mean: [obs_dim].
        squares: [obs_dim] sum of squared differences from the mean.

    Source: Chan, Golub and LeVeque 1979, Updating formulae and a pairwise algorithm for computing sample
    variances.
    """

    def __init__(self, obs_dim: int) -> None:
        self.count = 0
        self.mean: Vector = np.zeros(obs_dim)
        self.squares: Vector = np.zeros(obs_dim)

    def add(self, obs: NDArray[np.float32]) -> None:
        """Add observations [n, obs_dim]."""
        rows = obs.astype(np.float64)
        mean, count = rows.mean(axis=0), self.count + len(rows)
        difference = mean - self.mean
        self.squares += ((rows - mean) ** 2).sum(axis=0) + difference**2 * (self.count * len(rows) / count)
        self.mean += difference * (len(rows) / count)
        self.count = count

    def std(self) -> Vector:
        """Return the divisors [obs_dim]: standard deviations, but no less than the two limits; 1 at first."""
        if self.count < 2:
            return np.ones_like(self.mean)
        floor = np.maximum(MIN_STD, MIN_RATIO * np.abs(self.mean))
        return np.maximum(np.sqrt(self.squares / self.count), floor)


class Normalized:
    """An algorithm that sees scaled observations; an `Algorithm` itself.

    Args:
        algorithm: learns.
        replay: statistics are those of everything that was ever inserted into it.
        obs_dim: length of an observation.
    """

    def __init__(self, algorithm: Algorithm, replay: Replay, obs_dim: int) -> None:
        self._algorithm, self._replay = algorithm, replay
        self._statistics = Statistics(obs_dim)
        self._seen = 0

    def update(self, batches: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step with each of K batches, scaled in place; see `Algorithm`."""
        self._add_inserted()
        mean, std = (each.astype(np.float32) for each in (self._statistics.mean, self._statistics.std()))
        for name in ("obs", "next_obs"):
            batches[name] -= mean
            batches[name] /= std
        return self._algorithm.update(batches)

    def _add_inserted(self) -> None:
        """Add the transitions inserted since the last call, unless they are overwritten already."""
        end = self._replay.env_steps
        start = max(self._seen, end - len(self._replay))
        for first in range(start, end, MAX_ROWS):
            self._statistics.add(self._replay.read(first, min(MAX_ROWS, end - first))["obs"])
        self._seen = end

    def policy(self) -> PolicySnapshot:
        """Return the policy for observations as they are: the scaling is part of its first layer."""
        return self._algorithm.policy().with_inputs(self._statistics.mean.copy(), self._statistics.std())

    def metrics(self) -> Mapping[str, float]:
        """Return the algorithm's metrics."""
        return self._algorithm.metrics()

    def state_dict(self) -> dict[str, Any]:
        """Return the algorithm's state and the statistics."""
        statistics = self._statistics
        return {
            "algorithm": self._algorithm.state_dict(),
            "count": statistics.count,
            "mean": torch.from_numpy(statistics.mean.copy()),
            "squares": torch.from_numpy(statistics.squares.copy()),
            "seen": self._seen,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`; see `Algorithm`."""
        self._algorithm.load_state_dict(state["algorithm"])
        mean, squares = (state[name].numpy().copy() for name in ("mean", "squares"))
        if not mean.shape == squares.shape == self._statistics.mean.shape:
            raise ValueError(f"statistics of {mean.shape} and {squares.shape}")
        self._statistics.mean, self._statistics.squares = mean, squares
        self._statistics.count, self._seen = state["count"], state["seen"]
