"""Comparison of a run's last policy with its finalists on the same seeds, to choose the reported one.

Evaluations during training have few episodes, and the maximum of many noisy scores is biased upward. The last
policy is therefore chosen unless another one is clearly better: the 95 % interval of its paired advantage is
above 0. In and out: summaries of episodes, which the caller runs.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.evaluation.candidates import Candidate, Key
from graspfleet.common.evaluation.statistics import mean_low, wilson_interval
from graspfleet.common.fields import Episode

ROUND_EPISODES = 20
"""Episodes per round, after which policies without an advantage drop out; a comparison needs one round."""
GOOD_ENOUGH = 0.9
"""Lower 95 % bound of the success rate above which the last policy needs no comparison."""

RunEpisodes = Callable[[Key, int], tuple[Sequence[Episode], int]]
"""Runs `n` more episodes of a policy; returns the complete ones and the number of broken ones.

Each policy gets the same seeds in the same order.
"""


class Comparison:
    """Runs episodes of policies until the choice is clear.

    Args:
        last: the last policy.
        others: the finalists.
        run_episodes: see `RunEpisodes`; its exceptions propagate.
        at_most: upper limit of episodes per policy.

    Attributes:
        verdict: reason of the decision, for the user.
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
        """Return the chosen policy."""
        for number in range(1, len(self._sizes) + 1):
            self._run(self._last, number)
            if (low := self._success_low()) is None:
                break  # the environment reports no success, only returns
            if low >= GOOD_ENOUGH:
                count = sum(self._sizes[:number])
                self.verdict = (
                    f"it is the last one; success above {low:.0%} (95 % interval), {count} episodes"
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
        """Return a policy with its episodes of the first `rounds` rounds, or of all."""
        tally = Candidate(version=key.version, env_steps=key.env_steps)
        for episodes, broken in self._rounds[key][:rounds]:
            tally = tally.with_episodes(episodes, broken)
        return tally

    def _run(self, key: Key, rounds: int) -> None:
        """Run a policy's episodes until it has completed `rounds` rounds."""
        done = self._rounds[key]
        while len(done) < rounds:
            done.append(self._run_episodes(key, self._sizes[len(done)]))

    def _success_low(self) -> float | None:
        """Return Wilson's lower bound of the last policy's success; None if the environment reports none."""
        last = self.tally(self._last)
        successes = [episode[2] for episode in last.episodes if episode[2] is not None]
        return wilson_interval(sum(successes), len(successes) + last.broken)[0] if successes else None

    def _advantage(self, key: Key, rounds: int) -> NDArray[np.float64]:
        return advantage(self.tally(key, rounds), self.tally(self._last, rounds))


def advantage(one: Candidate, other: Candidate) -> NDArray[np.float64]:
    """Return the paired advantage of one policy over another, [n] with n >= 1, one number per seed.

    It is the difference in success if there is any, with a broken episode as a failure. Otherwise it is the
    difference in completed episodes if `one` had more broken episodes or clearly fewer, and else the
    difference in return over the seeds that both completed.
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
