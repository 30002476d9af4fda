"""The last policy of a run beside its finalists, on the same seeds: which of them is reported.

Evaluations during training have few episodes, and the best of many numbers is a lucky one first of all.
The last policy is therefore taken unless another one is clearly better: its advantage, seed by seed, is
above 0 by a 95 % interval. In and out: summaries of episodes; how they are run, and by which policy, is the
matter of the caller.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from common.evaluation.candidates import Candidate, Key
from common.evaluation.statistics import mean_low, wilson_interval
from common.fields import Episode

ROUND_EPISODES = 20
"""Episodes between two looks at who is behind; fewer in all say too little for a comparison."""
GOOD_ENOUGH = 0.9
"""A last policy whose success rate is above this by a 95 % interval needs no comparison."""

RunEpisodes = Callable[[Key, int], tuple[Sequence[Episode], int]]
"""Runs so many more episodes of a policy; returns whole ones and how many broke.

Each policy is given the same seeds in the same order.
"""


class Comparison:
    """Runs episodes of policies until it is clear which one to take.

    Args:
        last: the last policy.
        others: the finalists.
        run_episodes: see `RunEpisodes`; what it raises ends the comparison.
        at_most: episodes of each policy.

    Attributes:
        verdict: how the decision came about, for people.
    """

    def __init__(self, last: Key, others: Iterable[Key], run_episodes: RunEpisodes, at_most: int) -> None:
        self.verdict = ""
        self._last, self._others = last, list(others)
        self._run_episodes = run_episodes
        self._at_most = at_most
        self._sizes = [min(ROUND_EPISODES, at_most - begun) for begun in range(0, at_most, ROUND_EPISODES)]
        self._rounds: dict[Key, list[tuple[Sequence[Episode], int]]] = {
            key: [] for key in (last, *self._others)
        }

    def decide(self) -> Key:
        """Return the policy to take."""
        for number in range(1, len(self._sizes) + 1):
            self._run(self._last, number)
            if (low := self._success_low()) is None:
                break  # nothing but returns to go by
            if low >= GOOD_ENOUGH:
                count = sum(self._sizes[:number])
                self.verdict = (
                    f"it is the last one; success above {low:.0%} by a 95 % interval, {count} episodes"
                )
                return self._last
        ahead = self._others
        for number in range(1, len(self._sizes) + 1):
            for key in (self._last, *ahead):
                self._run(key, number)
            ahead = [key for key in ahead if self._advantage(key, number).mean() > 0]
            if not ahead:
                break
        better = [key for key in ahead if mean_low(self._advantage(key, len(self._sizes))) > 0]
        result = "clearly better than the last one" if better else "none is clearly better than the last one"
        self.verdict = (
            f"comparison of {len(self._rounds)} policies on the same seeds, up to {self._at_most} episodes"
            f" each: {result}"
        )
        return max(better, key=lambda key: self.tally(key).score, default=self._last)

    def tally(self, key: Key, rounds: int | None = None) -> Candidate:
        """Return a policy's episodes, those of the first `rounds` or all."""
        tally = Candidate(version=key.version, env_steps=key.env_steps)
        for episodes, broken in self._rounds[key][:rounds]:
            tally = tally.with_episodes(episodes, broken)
        return tally

    def _run(self, key: Key, rounds: int) -> None:
        """Run a policy's episodes up to so many rounds of them."""
        done = self._rounds[key]
        while len(done) < rounds:
            done.append(self._run_episodes(key, self._sizes[len(done)]))

    def _success_low(self) -> float | None:
        """Return Wilson's lower bound of the last policy's success, None if the environment names none."""
        last = self.tally(self._last)
        successes = [episode[2] for episode in last.episodes if episode[2] is not None]
        return wilson_interval(sum(successes), len(successes) + last.broken)[0] if successes else None

    def _advantage(self, key: Key, rounds: int) -> NDArray[np.float64]:
        return advantage(self.tally(key, rounds), self.tally(self._last, rounds))


def advantage(one: Candidate, other: Candidate) -> NDArray[np.float64]:
    """Return how much better one policy did than another, seed by seed, [n] with n >= 1.

    By success where the two differ in it, a broken episode being a failure. Otherwise by return, over the
    seeds that broke for neither; there a policy that breaks more often is behind, and one that clearly breaks
    less often is ahead, whatever the returns.
    """
    ones, others = ({episode[3]: episode for episode in each.episodes} for each in (one, other))
    seeds = sorted(ones.keys() | others.keys())
    success = np.array([_succeeds(ones.get(seed)) - _succeeds(others.get(seed)) for seed in seeds])
    if success.any():
        return success
    whole = np.array([float(seed in ones) - float(seed in others) for seed in seeds])
    if one.broken > other.broken or mean_low(whole) > 0:
        return whole
    both = [seed for seed in seeds if seed in ones and seed in others]
    return np.array([ones[seed][0] - others[seed][0] for seed in both] or [0.0])


def _succeeds(episode: Episode | None) -> float:
    return float(episode is not None and bool(episode[2]))
