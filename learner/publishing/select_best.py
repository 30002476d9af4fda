"""Selection of the best policy by evaluations; the finalists are kept in the run directory."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Any

from graspfleet.common.evaluation.candidates import Candidate, Key, Selected
from graspfleet.common.evaluation.policy_files import commit, read_finalists, read_selected, sweep
from graspfleet.common.evaluation.statistics import summarize
from graspfleet.common.messages import Evaluation, EvaluationStarted
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.learner.publishing.published_frames import PublishedFrames
from graspfleet.learner.reporting.metric import Metric, Values

log = logging.getLogger(__name__)

METRICS = {
    "evaluations": Metric("evaluations", "counted in the choice of the best policy", "counter"),
    "repeated_evaluations": Metric(
        "evaluations",
        "dropped because everything in them had been counted before",
        "counter",
    ),
    "uncounted_evaluations": Metric(
        "evaluations",
        "of a policy that was no longer kept: their row is written, but the policy cannot be chosen",
        "counter",
    ),
    "eval_env_steps": Metric("env steps", "`env_steps` when the evaluated policy was published"),
    "eval_broken_episodes": Metric(
        "episodes", "ended early by an environment error; the means below exclude them"
    ),
    "eval_return": Metric("reward", "mean of Σ reward over complete episodes; omitted if there are none"),
    "eval_return_std": Metric("reward", "standard deviation of the episodes' returns"),
    "eval_success": Metric("share", "p = successes / n"),
    "eval_success_low": Metric(
        "share",
        "Wilson: (p + z²/2n − z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), z = 1.96",
    ),
    "eval_success_high": Metric("share", "as above, with + before the root"),
}
"""Metrics that this part measures."""

MAX_TALLIES = 64
"""Number of policies besides the finalists whose evaluations are kept, so that later ones add to them."""


class Selection:
    """Choice of the best published policy so far.

    Evaluations may be late or repeated, come from several evaluators, or concern policies that are no longer
    kept.

    Args:
        frames: frames of the policies published by this process.
        run: run directory where finalists are written.

    Attributes:
        selected: the finalists and the best of them.
        newest: metrics of the newest evaluation; empty before the first.
        counters: evaluations that were counted, were repeated, or came too late to be counted.
    """

    def __init__(self, frames: PublishedFrames, run: RunDirectory) -> None:
        self.selected = Selected()
        self.newest: Values = {}
        self.counters: Counter[str] = Counter()
        self._frames = frames
        self._run = run
        self._finalists: dict[Key, bytes] = {}
        self._tallies: OrderedDict[Key, Candidate] = OrderedDict()
        self._written = True

    def recover(self) -> None:
        """Restore the finalists from the run directory, and complete a write that a crash interrupted."""
        self.selected, self._finalists = read_finalists(self._run, read_selected(self._run))
        self._written = False
        self.write()

    def take(self, message: Evaluation | EvaluationStarted) -> tuple[Values, bool] | None:
        """Handle a message of an evaluator.

        Returns:
            The evaluation's metrics, and whether the best policy has changed; None if there is nothing new.
        """
        if isinstance(message, EvaluationStarted):
            key = Key(message.weights_version, message.env_steps)
            self._frames.pin((message.actor_id, message.session_id), key)
            return None
        key = Key(message.weights_version, message.env_steps)
        known = self.selected.find(key) or self._tallies.get(key)
        candidate = known or Candidate(version=key.version, env_steps=key.env_steps)
        pooled = candidate.with_report(message.episodes, message.broken)
        if pooled is candidate:
            self.counters["repeated_evaluations"] += 1
            return None
        self.newest = values_of(message)
        frame = self._finalists.get(key) or self._frames.get(key)
        if frame is None:
            self._say_uncounted(message)
            return self.newest, False
        self.counters["evaluations"] += 1
        return self.newest, self._consider(pooled, frame)

    def write(self) -> None:
        """Write the finalists to disk if they have changed; a failed write does not stop training."""
        if self._written:
            return
        try:
            if self.selected.best is None:
                sweep(self._run, ())
            else:
                commit(self._run, self.selected, self._finalists)
            self._written = True
        except OSError as error:
            log.error("finalists not written: %s; retrying at the next checkpoint", error.strerror)

    def state_dict(self) -> dict[str, object]:
        """Return the counters and the newest evaluation; the finalists are stored in their own file."""
        return {"counters": dict(self.counters), "newest": self.newest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`."""
        self.counters = Counter(state["counters"])
        self.newest = dict(state["newest"])

    def metrics(self) -> Mapping[str, float]:
        """Return the counts of evaluations."""
        return {name: self.counters[name] for name in METRICS if not name.startswith("eval_")}

    def _consider(self, candidate: Candidate, frame: bytes) -> bool:
        """Keep a candidate if it is among the finalists now; return whether the best policy has changed."""
        before = self.selected
        self.selected = before.with_candidate(candidate)
        self._tallies[candidate.key] = candidate
        self._tallies.move_to_end(candidate.key)
        while len(self._tallies) > MAX_TALLIES:
            self._tallies.popitem(last=False)
        if self.selected != before:
            frames = {**self._finalists, candidate.key: frame}
            self._finalists = {each.key: frames[each.key] for each in self.selected.finalists}
            self._written = False
            self.write()
        return self.selected.best != before.best

    def _say_uncounted(self, evaluation: Evaluation) -> None:
        self.counters["uncounted_evaluations"] += 1
        if self.counters["uncounted_evaluations"] == 1:
            log.warning(
                "an evaluation by %s of weights version %d, env step %d is ignored in the choice of the best"
                " policy: that policy is no longer kept (further ones are only counted)",
                evaluation.actor_id,
                evaluation.weights_version,
                evaluation.env_steps,
            )


def values_of(evaluation: Evaluation) -> Values:
    """Return an evaluation's metrics."""
    summary = summarize(evaluation.episodes, evaluation.broken)
    values: Values = {"eval_env_steps": evaluation.env_steps, "eval_broken_episodes": evaluation.broken}
    names = ("return", "return_std", "success", "success_low", "success_high")
    keys = ("mean_return", "std_return", "success_rate", "success_low", "success_high")
    for name, key in zip(names, keys, strict=True):
        if (value := summary[key]) is not None:
            values[f"eval_{name}"] = value
    return values
