"""The policies of a run directory, and the choice of one by `graspfleet evaluate`."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from graspfleet.actor.comparison import Comparison
from graspfleet.common.errors import ConfigError, ProtocolError
from graspfleet.common.evaluation.candidates import Candidate, Key, key_of
from graspfleet.common.evaluation.policy_files import (
    candidate_path,
    commit,
    read_finalists,
    read_selected,
    read_weights,
)
from graspfleet.common.fields import Episode
from graspfleet.common.messages import Weights
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.seeds import seed_sequence, training_seeds
from graspfleet.common.specs import EnvSpec

log = logging.getLogger(__name__)

BOUND_TOLERANCE = 1e-6
"""Relative tolerance of action bounds; rounding to float32 stays within it."""

RunEpisodes = Callable[[NumpyPolicy, Iterator[int], int], tuple[Sequence[Episode], int]]
"""Runs `n` episodes on the next seeds; returns the complete ones and the number of broken ones."""


@dataclass(frozen=True)
class PolicyFile:
    """One policy file of a run.

    Attributes:
        path: of the file.
        frame: its content.
        weights: the decoded message.
        policy: ready to act.
    """

    path: Path
    frame: bytes
    weights: Weights
    policy: NumpyPolicy

    @property
    def key(self) -> Key:
        """Identity of the policy."""
        return key_of(self.weights)


@dataclass(frozen=True)
class Choice:
    """The policy to evaluate, and the reason for the choice, for the user."""

    file: PolicyFile
    chosen_by: str

    def describe(self) -> str:
        """Return the choice as one line for the user."""
        return f"policy: {self.file.path}, from env step {self.file.weights.env_steps:,}; {self.chosen_by}"

    def summary(self) -> dict[str, str | int]:
        """Return the choice as fields of a JSON object."""
        return {
            "policy": str(self.file.path),
            "policy_env_steps": self.file.weights.env_steps,
            "chosen_by": self.chosen_by,
        }


def read_policy(path: Path, spec: EnvSpec) -> PolicyFile:
    """Return the policy in a file.

    Raises:
        FileNotFoundError: the file does not exist.
        ConfigError: the policy is damaged, or belongs to another environment.
    """
    try:
        weights, frame = read_weights(path)
        trained = weights.spec
        policy = NumpyPolicy(weights.eval_policy, trained, np.random.default_rng(0))
    except FileNotFoundError:
        raise
    except (OSError, ProtocolError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: not a readable policy ({reason})") from None
    if differs := difference(trained, spec):
        raise ConfigError(f"{path}: {differs}; allowed: the environment that it was trained in")
    return PolicyFile(path, frame, weights, policy)


def load_policy(run: RunDirectory, which: str, spec: EnvSpec) -> NumpyPolicy:
    """Return a run's `best` or `last` policy, without a comparison.

    Raises:
        ConfigError: the policy is missing, damaged, or from another environment.
    """
    return RunPolicies(run, spec).choose(which).file.policy


def difference(trained: EnvSpec, present: EnvSpec) -> str:
    """Return the reason why a policy does not fit an environment; "" if it does.

    Discount and n-step are ignored: they do not change the meaning of observations and actions.
    """
    then, now = (spec.env.rpartition(":")[2] for spec in (trained, present))
    if then != now:
        return f"trained in {then}, but the environment is {now}"
    if (trained.policy_dim, trained.action_dim) != (present.policy_dim, present.action_dim):
        return (
            f"trained with obs_dim {trained.policy_dim} and action_dim {trained.action_dim},"
            f" but the environment has {present.policy_dim} and {present.action_dim}"
        )
    if trained.seen_layout != present.seen_layout:
        return (
            f"trained with observations {trained.seen_layout}, but the environment has {present.seen_layout}"
        )
    for end in ("low", "high"):
        bounds = (getattr(trained, f"action_{end}"), getattr(present, f"action_{end}"))
        if None in bounds:  # a file without bounds
            continue
        for index, (old, new) in enumerate(zip(*bounds, strict=True)):
            if not math.isclose(old, new, rel_tol=BOUND_TOLERANCE):
                return f"trained with {end} bound {old:g} of action {index}, but the environment has {new:g}"
    return ""


class RunPolicies:
    """The policies of a run directory: the best one so far, the last one, and the finalists.

    A folder with only `policy-best.gfp` is allowed.

    Args:
        run: the directory.
        spec: of the environment to evaluate them in.

    Raises:
        ConfigError: the best policy cannot be used.
    """

    def __init__(self, run: RunDirectory, spec: EnvSpec) -> None:
        self._run = run
        self._spec = spec
        self._selected, _ = read_finalists(run, read_selected(run))
        self._best = self._find("best")

    def choose(self, which: str, episodes: int = 0) -> Choice:
        """Return the `best` or the `last` policy, without a comparison.

        Args:
            which: "best" or "last".
            episodes: episodes per policy of the comparison that should have preceded.

        Raises:
            ConfigError: the run has no policy yet, or it cannot be used.
        """
        if which == "last":
            return Choice(self._require_last(), "requested with --policy last")
        if self._best is None:
            return Choice(self._require_last(), "it is the last one; no policy has been evaluated yet")
        chosen_by = self._selected.chosen_by(self._best.key)
        if self.is_open(episodes):
            chosen_by += "; not compared with the last policy yet"
        return Choice(self._best, chosen_by)

    def compared_policies(self) -> dict[Key, PolicyFile]:
        """Return the policies to compare, the last one first; empty if that one is missing or unusable."""
        try:
            last = self._find("last")
        except ConfigError as error:
            log.warning("no comparison with the last policy: %s", error)
            return {}
        if last is None:
            return {}
        found = {last.key: last}
        if self._best is not None:
            found.setdefault(self._best.key, self._best)
        for candidate in self._selected.finalists:
            if candidate.key not in found:
                found[candidate.key] = read_policy(candidate_path(self._run, candidate.key), self._spec)
        return found

    def is_open(self, episodes: int) -> bool:
        """Return whether a comparison would add information; always false in a folder of copied files."""
        if not self._run.has_begun():
            return False
        keys = self.compared_policies().keys()
        if len(keys) < 2:
            return False
        done = self._selected.comparison
        best_is_chosen = self._best is not None and self._best.key == self._selected.best
        return not (best_is_chosen and done and done.episodes >= episodes and keys <= set(done.keys))

    def compare(self, run_episodes: RunEpisodes, seed: int, episodes: int) -> Choice:
        """Compare the policies, store the choice, and return it; the caller must have claimed the run.

        Args:
            run_episodes: see `RunEpisodes`; its exceptions propagate, and nothing is stored.
            seed: root of the episodes' seeds, the same for every policy, disjoint from those of `evaluate`.
            episodes: upper limit per policy.
        """
        files = self.compared_policies()
        last, *others = files
        seeds = seed_sequence(seed, f"comparison with {last}, {episodes} episodes")
        streams = {key: training_seeds(np.random.default_rng(seeds)) for key in files}
        comparison = Comparison(
            last, others, lambda key, count: run_episodes(files[key].policy, streams[key], count), episodes
        )
        best = comparison.decide()
        known = {
            key: self._selected.find(key) or Candidate(version=key.version, env_steps=key.env_steps)
            for key in files
        }
        tallies = [
            candidate.with_episodes(comparison.tally(key).episodes, comparison.tally(key).broken)
            for key, candidate in known.items()
        ]
        selected = self._selected.compared(tallies, best, episodes, comparison.verdict)
        try:
            commit(self._run, selected, {each.key: files[each.key].frame for each in selected.finalists})
        except OSError as error:
            log.warning("the choice of the best policy could not be stored: %s", error.strerror)
            return Choice(files[best], comparison.verdict)
        return Choice(replace(files[best], path=self._run.policy("best")), comparison.verdict)

    def _find(self, which: str) -> PolicyFile | None:
        try:
            return read_policy(self._run.policy(which), self._spec)
        except FileNotFoundError:
            return None

    def _require_last(self) -> PolicyFile:
        last = self._find("last")
        if last is None:
            raise ConfigError(
                f"{self._run.path}: no policy found; allowed: the directory of a run that has begun"
            )
        return last
