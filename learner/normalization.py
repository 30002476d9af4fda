"""Scaling of observations to mean 0 and standard deviation 1, for any algorithm.

In: batches as inserted. Out: the same batches, scaled; and a policy for unscaled observations, whose first
layer contains the scaling. Must not know: networks, losses, actors.
"""

from collections.abc import Mapping
from typing import Any, SupportsFloat

import numpy as np
import torch
from numpy.typing import NDArray

from graspfleet.common.fields import MAX_ROWS
from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.algorithm import Algorithm
from graspfleet.learner.experience.replay import Replay
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot

MIN_STD = 1e-5
"""Smallest divisor; a constant observation becomes 0."""
MIN_RATIO = 1e-3
"""Smallest divisor as a multiple of the mean's magnitude; float32 could not resolve smaller differences."""

Vector = NDArray[np.float64]


class Statistics:
    """Mean and variance over all observations so far, by Chan's parallel formula.

    Attributes:
        count: number of observations.
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
        """Return the divisors [obs_dim]: standard deviations with two lower limits; 1 for count < 2."""
        if self.count < 2:
            return np.ones_like(self.mean)
        floor = np.maximum(MIN_STD, MIN_RATIO * np.abs(self.mean))
        return np.maximum(np.sqrt(self.squares / self.count), floor)


class Normalized:
    """Wrapper that scales the observations of an algorithm; an `Algorithm` itself.

    Args:
        algorithm: the wrapped algorithm.
        replay: source of the statistics, which cover every transition inserted into it.
        spec: layout of a transition.
    """

    def __init__(self, algorithm: Algorithm, replay: Replay, spec: EnvSpec) -> None:
        self._algorithm, self._replay = algorithm, replay
        self._statistics, self._policy_dim = Statistics(spec.obs_dim), spec.policy_dim
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
        """Add the transitions inserted since the last call, except those already overwritten."""
        end = self._replay.rows.count
        start = max(self._seen, end - len(self._replay))
        for first in range(start, end, MAX_ROWS):
            self._statistics.add(self._replay.read(first, min(MAX_ROWS, end - first))["obs"])
        self._seen = end

    def policy(self) -> PolicySnapshot:
        """Return the policy for unscaled observations; its first layer contains the scaling."""
        mean, std = self._statistics.mean.copy(), self._statistics.std()
        return self._algorithm.policy().with_inputs(mean, std, self._policy_dim)

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
        """Restore the state from `state_dict()`; see `Algorithm`."""
        self._algorithm.load_state_dict(state["algorithm"])
        mean, squares = (state[name].numpy().copy() for name in ("mean", "squares"))
        if not mean.shape == squares.shape == self._statistics.mean.shape:
            raise ValueError(f"statistics of {mean.shape} and {squares.shape}")
        self._statistics.mean, self._statistics.squares = mean, squares
        self._statistics.count, self._seen = state["count"], state["seen"]
