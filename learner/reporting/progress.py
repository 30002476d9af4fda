"""Progress of the loop, and the time it has spent waiting."""

import time
from collections.abc import Callable, Mapping

from graspfleet.learner.reporting.metric import Metric

METRICS = {
    "wall_s": Metric(
        "s",
        "time since the learner's loop began, over all resumes, pauses between them left out",
        "counter",
    ),
    "updates": Metric(
        "updates",
        "gradient updates behind the present networks (fewer than told before, if the learner"
        " was killed after its newest checkpoint); on a GPU those issued, at most three calls"
        " of `--updates-per-dispatch` ahead of those done",
    ),
    "learner_wait_s": Metric(
        "s",
        "sum of the time in which the learner had nothing to update from",
        "counter",
    ),
    "actors_wait_s": Metric(
        "s",
        "sum of the time in which the rate limiter held batches of actors that had arrived",
        "counter",
    ),
}
"""Metrics that this part measures."""


class Progress:
    """Updates taken, and waiting times since the loop was built.

    Attributes:
        updates: gradient updates behind the present networks.
    """

    def __init__(self) -> None:
        self.updates = 0
        self._began_s = time.monotonic()
        self._wait_s = self._actors_wait_s = 0.0
        self._held_since_s: float | None = None

    def waited(self, wait: Callable[[float], object], timeout_s: float) -> None:
        """Call `wait(timeout_s)` and add the time it took."""
        before_s = time.monotonic()
        wait(timeout_s)
        self._wait_s += time.monotonic() - before_s

    def holds_actors(self, held: bool) -> None:
        """Note whether the rate limiter leaves the actors' batches unread now; the time adds up."""
        now_s = time.monotonic()
        if self._held_since_s is not None:
            self._actors_wait_s += now_s - self._held_since_s
        self._held_since_s = now_s if held else None

    def metrics(self) -> Mapping[str, float]:
        """Return the counters."""
        return {
            "wall_s": time.monotonic() - self._began_s,
            "updates": self.updates,
            "learner_wait_s": self._wait_s,
            "actors_wait_s": self._actors_wait_s,
        }
