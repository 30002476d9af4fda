"""What the learner says of itself: rows of metrics, and a status on the control channel."""

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat

from common.messages import Status
from common.runtime.run_directory import RunDirectory
from learner.reporting.metrics import SAID, EpisodeMeans, MetricsLog, Values

if TYPE_CHECKING:
    from learner.loop import Learner


COUNTERS = ("duplicates", "gaps", "lost", "torn", "damaged", "throttled", "malformed", "refused", "episodes")
"""Of the ingest's counters those that are metrics; the others tell reasons."""
EVALUATION_COUNTERS = ("evaluations", "repeated_evaluations", "uncounted_evaluations")
"""Counters of the selection."""


class Reporter:
    """Reads the learner's counters and turns them into metrics.

    Args:
        learner: whose counters.
        run: where rows are written.

    Attributes:
        state: what the status says.
        losses: the newest update's scalars; read only when a row is written.
    """

    def __init__(self, learner: "Learner", run: RunDirectory) -> None:
        self.state: Literal["running", "draining", "done"] = "running"
        self.losses: Mapping[str, SupportsFloat] = {}
        self._learner = learner
        self._log = MetricsLog(run)
        self._episodes = EpisodeMeans()
        self._evaluation: Values = {}
        self._values: Values = {}
        self._wait_s = 0.0
        self._actors_wait_s = 0.0
        self._held_since_s: float | None = None
        self._earlier: dict[str, float] = {}
        self._started_s = self._row_s = time.monotonic()
        self._row_counts = (0, 0)

    def waited(self, wait: Callable[[float], object], timeout_s: float) -> None:
        """Call `wait(timeout_s)` and account for the time it took."""
        before_s = time.monotonic()
        wait(timeout_s)
        self._wait_s += time.monotonic() - before_s

    def holds_actors(self, held: bool) -> None:
        """Note whether the rate limiter leaves the actors' batches unread now; the time adds up."""
        now_s = time.monotonic()
        if self._held_since_s is not None:
            self._actors_wait_s += now_s - self._held_since_s
        self._held_since_s = now_s if held else None

    def write(self, evaluation: Values | None = None) -> None:
        """Write one row of metrics; an evaluation's values stand in one row, and in every status after it."""
        self._values = self._measure()
        self._note(self._values)
        self._evaluation = evaluation or self._evaluation
        self._log.write({**self._values, **(evaluation or {})})

    def send_status(self) -> None:
        """Publish the newest row, with fresh counters, and every actor's liveness."""
        ingest, counts = self._learner.ingest, self._counts()
        self._note(counts)
        status = Status(
            state=self.state,
            metrics={**self._values, **counts, **self._evaluation},
            actors=ingest.refusals.among("actor", ingest.liveness()),
            evaluators=ingest.refusals.among("evaluator", ingest.evaluators_liveness()),
            refused=ingest.refusals.reasons(),
        )
        self._learner.sockets.status(status)

    def close(self) -> None:
        """Write the last row and say the last status."""
        self.write()
        self.send_status()
        self._log.close()

    def state_dict(self) -> dict[str, object]:
        """Return what is told again; counters are in the journal, as the newest checkpoint may be old."""
        return {"recent_episodes": self._episodes.state_dict(), "evaluation": self._evaluation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self._episodes.load_state_dict(state["recent_episodes"])
        self._evaluation = dict(state["evaluation"])

    def go_on(self) -> None:
        """Let no counter fall below what was last told of it; comes when everything else is restored."""
        self._row_counts = (self._learner.env_steps, self._learner.updates)
        ingest, version = self._learner.ingest, self._learner.publisher.version
        known = {**ingest.counters, **self._learner.selection.counters, "weights_version": version}
        self._earlier = {
            name: max(0, ingest.said[name] - known.get(name, 0)) for name in SAID if name in ingest.said
        }

    def _note(self, values: Values) -> None:
        """Have the journal know what is told now."""
        self._learner.ingest.note({name: values[name] for name in SAID if name in values})

    def _collect(self) -> None:
        events = self._learner.ingest.drain_events()
        self._episodes.add(events.episodes)

    def _counts(self) -> Values:
        learner = self._learner
        counters = learner.ingest.counters
        alive = sum(state == "alive" for state in learner.ingest.liveness().values())
        counts: Values = {
            "wall_s": time.monotonic() - self._started_s,
            "learner_wait_s": self._wait_s,
            "actors_wait_s": self._actors_wait_s,
            "env_steps": learner.env_steps,
            "updates": learner.updates,
            "replay_size": len(learner.replay),
            "weights_version": learner.publisher.version,
            "actors_alive": alive,
            **learner.sockets.counts(),
            **learner.ingest.sessions.totals(),
            **{name: counters[name] for name in COUNTERS},
            **{name: learner.selection.counters[name] for name in EVALUATION_COUNTERS},
        }
        return {name: value + self._earlier.get(name, 0) for name, value in counts.items()}

    def _measure(self) -> Values:
        self._collect()
        learner, now_s = self._learner, time.monotonic()
        steps, updates = self._row_counts
        span_s = max(1e-9, now_s - self._row_s)
        self._row_s, self._row_counts = now_s, (learner.env_steps, learner.updates)
        return {
            **self._counts(),
            "env_steps_per_s": (learner.env_steps - steps) / span_s,
            "updates_per_s": (learner.updates - updates) / span_s,
            "samples_per_insert": learner.limiter.samples / max(1, learner.limiter.inserts),
            **learner.ingest.lag.values(),
            **self._episodes.values(),
            # A diverged loss has no number that a row or a status could carry.
            **{name: value for name, loss in self.losses.items() if math.isfinite(value := float(loss))},
        }
