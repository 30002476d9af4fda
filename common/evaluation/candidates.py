"""Candidates for the best policy of a run, their evaluation episodes, and the best one so far.

In and out: values. No files, no sockets, no clocks: `common.evaluation.policy_files` stores them.
"""

import zlib
from collections.abc import Iterable
from typing import Annotated, NamedTuple

from pydantic import Field

from graspfleet.common.evaluation.statistics import mean_low, wilson_interval
from graspfleet.common.fields import MAX_EPISODES, Count, Episode, Record
from graspfleet.common.messages import Weights

NUM_FINALISTS = 3
"""Policies that are compared with the last one after training."""
MAX_REPORTS = 1024
"""Largest number of reports per policy that are remembered to detect duplicates."""
MAX_COMPARED = 16
"""Largest number of policies in a comparison."""


class Key(NamedTuple):
    """Identity of a published policy within its run."""

    version: int
    env_steps: int


class Score(NamedTuple):
    """Lower confidence bounds of a policy's performance, compared field by field; the largest is the best.

    Lower bounds are used instead of means so that a few lucky episodes count less than many good ones.

    Attributes:
        success_low: Wilson's lower bound of the success rate, with broken episodes as failures; 0 if the
            environment reports no success.
        complete_fraction: complete episodes / all episodes. It comes before the return because the return of
            a broken episode is unknown.
        return_low: lower bound of the 95 % interval of the mean return over complete episodes.
        mean_return: mean return over complete episodes; decides if a single episode gives no interval.
    """

    success_low: float
    complete_fraction: float
    return_low: float
    mean_return: float


class Candidate(Record):
    """One policy with all deterministic episodes reported for it.

    Attributes:
        version: of its weights.
        env_steps: of the learner when the policy was published.
        episodes: complete ones, one per seed.
        broken: number of broken episodes.
        reports: checksums of the counted evaluations, so that a duplicate is not counted again.
    """

    version: Count
    env_steps: Count
    episodes: Annotated[tuple[Episode, ...], Field(max_length=MAX_EPISODES)] = ()
    broken: Count = 0
    reports: Annotated[tuple[int, ...], Field(max_length=MAX_REPORTS)] = ()

    @property
    def key(self) -> Key:
        """Identity of the policy."""
        return Key(self.version, self.env_steps)

    @property
    def score(self) -> Score:
        """Lower bounds of the policy's performance."""
        returns = [episode[0] for episode in self.episodes]
        successes = [episode[2] for episode in self.episodes if episode[2] is not None]
        success_low = wilson_interval(sum(successes), len(successes) + self.broken)[0] if successes else 0.0
        total = len(returns) + self.broken
        mean = sum(returns) / len(returns) if returns else float("-inf")
        return Score(success_low, len(returns) / total if total else 0.0, mean_low(returns), mean)

    def with_report(self, episodes: tuple[Episode, ...], broken: int) -> "Candidate":
        """Return the candidate with an evaluation added; unchanged if it is already counted."""
        checksum = zlib.crc32(repr((episodes, broken)).encode())
        known = {episode[3] for episode in self.episodes}
        if checksum in self.reports or (episodes and all(episode[3] in known for episode in episodes)):
            return self
        reports = (*self.reports, checksum)[-MAX_REPORTS:]
        return self.with_episodes(episodes, broken).model_copy(update={"reports": reports})

    def with_episodes(self, episodes: Iterable[Episode], broken: int) -> "Candidate":
        """Return the candidate with episodes added; the first episode of each seed counts."""
        pooled = {episode[3]: episode for episode in self.episodes}
        for episode in episodes:
            pooled.setdefault(episode[3], episode)
        whole = tuple(pooled.values())[:MAX_EPISODES]
        return self.model_copy(update={"episodes": whole, "broken": self.broken + broken})


class Compared(Record):
    """A comparison of policies on the same seeds after training.

    Attributes:
        episodes: upper limit per policy.
        keys: the compared policies.
        verdict: reason of the decision, for the user.
    """

    episodes: Count
    keys: Annotated[tuple[Key, ...], Field(max_length=MAX_COMPARED)]
    verdict: Annotated[str, Field(pattern=r"^[ -~]*$", max_length=300)]


class Selected(Record):
    """The best policies of a run: the content of `selection.json`.

    Attributes:
        finalists: the best policy and the others with the highest scores.
        best: identity of the best finalist; None before the first evaluation.
        comparison: the comparison that chose the best; None if evaluations during training chose it.
    """

    finalists: Annotated[tuple[Candidate, ...], Field(max_length=NUM_FINALISTS)] = ()
    best: Key | None = None
    comparison: Compared | None = None

    def find(self, key: Key) -> Candidate | None:
        """Return the finalist `key`; None if it is not a finalist."""
        return next((candidate for candidate in self.finalists if candidate.key == key), None)

    def with_candidate(self, candidate: Candidate) -> "Selected":
        """Return the selection after a new evaluation of `candidate`.

        The best policy changes when another one's new score is higher, or when its own new score is lower
        than another one's.
        """
        entries = {each.key: each for each in self.finalists} | {candidate.key: candidate}
        best = entries.get(self.best) if self.best is not None else None
        if best is None or best is candidate:
            best = max(entries.values(), key=lambda each: each.score)
        elif candidate.score > best.score:
            best = candidate
        if best.key == self.best:
            return self._keeping(entries.values(), best, self.comparison)
        return self._keeping(entries.values(), best, None)

    def compared(self, candidates: Iterable[Candidate], best: Key, episodes: int, verdict: str) -> "Selected":
        """Return the selection after a comparison.

        Args:
            candidates: all compared policies, with their new episodes.
            best: the chosen one.
            episodes: upper limit per policy.
            verdict: reason of the decision, for the user.
        """
        entries = {each.key: each for each in candidates}
        record = Compared(episodes=episodes, keys=tuple(entries), verdict=verdict)
        return self._keeping(entries.values(), entries[best], record)

    @staticmethod
    def _keeping(candidates: Iterable[Candidate], best: Candidate, comparison: Compared | None) -> "Selected":
        """Return a selection of the best candidate and the others with the highest scores."""
        ranked = sorted(candidates, key=lambda each: (each is best, each.score), reverse=True)
        return Selected(finalists=tuple(ranked[:NUM_FINALISTS]), best=best.key, comparison=comparison)

    def chosen_by(self, key: Key) -> str:
        """Return the reason why `key` is the best, for the user."""
        candidate = self.find(key)
        if candidate is None or key != self.best:
            return "the run has no record of how it was chosen"
        if self.comparison is not None:
            return self.comparison.verdict
        count = len(candidate.episodes) + candidate.broken
        return f"chosen by evaluations during training, {count} episodes"


def key_of(weights: Weights) -> Key:
    """Return the identity of the policy in a message."""
    return Key(weights.version, weights.env_steps)
