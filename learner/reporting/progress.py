"""Progress of the loop, and the time it has spent waiting."""

import time
from collections.abc import Callable, Mapping

from graspfleet.learner.reporting.metric import Metric

METRICS = {
    "wall_s": Metric(
        "s",
        "time since the learner's loop started, summed over all resumes, without the pauses between them",
        "counter",
    ),
    "updates": Metric(
        "updates",
        "gradient updates of the current networks (fewer than reported before if the learner "
        "was killed after its newest checkpoint); on a GPU, the number issued, at most three "
        "calls of `--updates-per-dispatch` ahead of those completed",
    ),
    "learner_wait_s": Metric(
        "s",
        "total time that the learner spent waiting for transitions",
        "counter",
    ),
    "actors_wait_s": Metric(
        "s",
        "total time in which the rate limiter held batches that had arrived",
        "counter",
    ),
}
"""Metrics that this part measures."""


class Progress:
    """Updates taken, and waiting times since the loop was built.

    Attributes:
        updates: gradient updates of the current networks.
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
        """Note whether the rate limiter holds batches now; the time is added up."""
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
