"""The policies that may be the best of a run, what their episodes say, and which of them is the best so far.

In and out: values. No files, no sockets, no clocks: `common.evaluation.policy_files` brings them to the disk.
"""

import zlib
from collections.abc import Iterable
from typing import Annotated, NamedTuple

from pydantic import Field

from common.evaluation.statistics import mean_low, wilson_interval
from common.fields import MAX_EPISODES, Count, Episode, Record
from common.messages import Weights

NUM_FINALISTS = 3
"""Policies that training hands on to the comparison at its end, besides the last one."""
MAX_REPORTS = 1024
"""Evaluations of one policy that are told apart from repetitions."""
MAX_COMPARED = 16
"""Policies of one comparison at the most."""


class Key(NamedTuple):
    """Names one published policy of a run."""

    version: int
    env_steps: int


class Score(NamedTuple):
    """How good a policy is at least, by its episodes; compared field by field, the largest is the best.

    Lower ends of intervals stand in for means, so that few lucky episodes are worth less than many good ones.

    Attributes:
        success_low: Wilson's lower bound of the success rate, a broken episode counted as a failure; 0 where
            the environment reports no success.
        whole_share: episodes that did not break / all. What a broken one would have returned is not known, so
            no return makes up for it.
        return_low: lower end of the mean return's 95 % interval over whole episodes.
        mean_return: decides where a single episode leaves the interval open.
    """

    success_low: float
    whole_share: float
    return_low: float
    mean_return: float


class Candidate(Record):
    """One policy with all deterministic episodes that were reported of it.

    Attributes:
        version: of its weights.
        env_steps: the learner's when it was published.
        episodes: whole ones, each seed once.
        broken: episodes that broke off.
        reports: checksums of the evaluations that counted, so that each counts once however often it arrives.
    """

    version: Count
    env_steps: Count
    episodes: Annotated[tuple[Episode, ...], Field(max_length=MAX_EPISODES)] = ()
    broken: Count = 0
    reports: Annotated[tuple[int, ...], Field(max_length=MAX_REPORTS)] = ()

    @property
    def key(self) -> Key:
        """Which policy it is."""
        return Key(self.version, self.env_steps)

    @property
    def score(self) -> Score:
        """How good it is at least."""
        returns = [episode[0] for episode in self.episodes]
        successes = [episode[2] for episode in self.episodes if episode[2] is not None]
        success_low = wilson_interval(sum(successes), len(successes) + self.broken)[0] if successes else 0.0
        total = len(returns) + self.broken
        mean = sum(returns) / len(returns) if returns else float("-inf")
        return Score(success_low, len(returns) / total if total else 0.0, mean_low(returns), mean)

    def with_report(self, episodes: tuple[Episode, ...], broken: int) -> "Candidate":
        """Return the candidate after an evaluation of it; itself if that has been counted before."""
        checksum = zlib.crc32(repr((episodes, broken)).encode())
        known = {episode[3] for episode in self.episodes}
        if checksum in self.reports or (episodes and all(episode[3] in known for episode in episodes)):
            return self
        reports = (*self.reports, checksum)[-MAX_REPORTS:]
        return self.with_episodes(episodes, broken).model_copy(update={"reports": reports})

    def with_episodes(self, episodes: Iterable[Episode], broken: int) -> "Candidate":
        """Return the candidate with more episodes; of each seed the first one counts."""
        pooled = {episode[3]: episode for episode in self.episodes}
        for episode in episodes:
            pooled.setdefault(episode[3], episode)
        whole = tuple(pooled.values())[:MAX_EPISODES]
        return self.model_copy(update={"episodes": whole, "broken": self.broken + broken})


class Compared(Record):
    """That policies were compared on the same seeds after training.

    Attributes:
        episodes: of each at the most.
        keys: which policies.
        verdict: how the decision came about, for people.
    """

    episodes: Count
    keys: Annotated[tuple[Key, ...], Field(max_length=MAX_COMPARED)]
    verdict: Annotated[str, Field(pattern=r"^[ -~]*$", max_length=300)]


class Selected(Record):
    """What a run knows of its best policies: the content of `selection.json`.

    Attributes:
        finalists: those with the highest scores and the best.
        best: which of them is the best; None before the first evaluation.
        comparison: what named the best; None if evaluations during training did.
    """

    finalists: Annotated[tuple[Candidate, ...], Field(max_length=NUM_FINALISTS)] = ()
    best: Key | None = None
    comparison: Compared | None = None

    def find(self, key: Key) -> Candidate | None:
        """Return the finalist called `key`, if it is one."""
        return next((candidate for candidate in self.finalists if candidate.key == key), None)

    def with_candidate(self, candidate: Candidate) -> "Selected":
        """Return what is known once `candidate` has been evaluated (again).

        The best stays the best until another's evaluation scores higher, or its own falls below another's.
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
        """Return what is known after a comparison of `candidates`, each with its new episodes.

        Args:
            candidates: all that were compared.
            best: which of them it named.
            episodes: of each at the most.
            verdict: how the decision came about.
        """
        entries = {each.key: each for each in candidates}
        record = Compared(episodes=episodes, keys=tuple(entries), verdict=verdict)
        return self._keeping(entries.values(), entries[best], record)

    @staticmethod
    def _keeping(candidates: Iterable[Candidate], best: Candidate, comparison: Compared | None) -> "Selected":
        """Keep the best and those with the highest scores besides."""
        ranked = sorted(candidates, key=lambda each: (each is best, each.score), reverse=True)
        return Selected(finalists=tuple(ranked[:NUM_FINALISTS]), best=best.key, comparison=comparison)

    def chosen_by(self, key: Key) -> str:
        """Return how `key` came to be the best, for people."""
        candidate = self.find(key)
        if candidate is None or key != self.best:
            return "it is not said how it was chosen"
        if self.comparison is not None:
            return self.comparison.verdict
        count = len(candidate.episodes) + candidate.broken
        return f"chosen by evaluations during training, {count} episodes of it"


def key_of(weights: Weights) -> Key:
    """Return which policy a frame holds."""
    return Key(weights.version, weights.env_steps)
