"""Rows of metrics, and the status on the control channel, merged from all parts of the learner."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

from graspfleet.common.messages import Status
from graspfleet.learner.access.refusals import Peers
from graspfleet.learner.reporting.metric import Metric, Metrics, Values
from graspfleet.learner.reporting.metrics_log import MetricsLog

METRICS = {
    "env_steps_per_s": Metric("env steps/s", "Δ`env_steps` / t"),
    "updates_per_s": Metric("updates/s", "Δ`updates` / t"),
}
"""Metrics that this part measures."""
RATES = {"env_steps_per_s": "env_steps", "updates_per_s": "updates"}
"""Counter that each rate is the growth of, by name of the rate."""


class Measured(Protocol):
    """A part that measures something."""

    def metrics(self) -> Mapping[str, float]:
        """Return the newest values by name."""


class Reporter:
    """Merges the metrics of parts.

    Args:
        counters: parts that may be read at any time.
        gauges: parts that are read once per row, because they wait for a device or average over the row.
        declared: all metrics.
        log: receives the rows.
        note: called with the counters before they are reported, so that a resumed learner never reports less.
        publish: sends a status.
        peers: returns the peers that a status lists.
    """

    def __init__(
        self,
        counters: Sequence[Measured],
        gauges: Sequence[Measured],
        declared: Metrics,
        *,
        log: MetricsLog,
        note: Callable[[Mapping[str, float]], object],
        publish: Callable[[Status], object],
        peers: Callable[[], Peers],
    ) -> None:
        self._counters, self._gauges = counters, gauges
        self._noted = [name for name, metric in declared.items() if metric.kind == "counter"]
        self._log, self._note, self._publish, self._peers = log, note, publish, peers
        self._earlier: dict[str, float] = {}
        self._row: Values = {}
        self._row_s = time.monotonic()
        self._row_counts = self._count()

    def continue_from(self, told: Mapping[str, float]) -> None:
        """Keep counters from falling below their last reported values; call after restoring all parts."""
        self._row_counts = now = self._count()
        self._earlier = {name: max(0, told[name] - now[name]) for name in self._noted if name in told}

    def write(self, more: Mapping[str, float] | None = None) -> None:
        """Write a row, with the values of an evaluation if given."""
        counts, now_s = self._count(), time.monotonic()
        span_s = max(1e-9, now_s - self._row_s)
        rates = {name: (counts[of] - self._row_counts[of]) / span_s for name, of in RATES.items()}
        self._row_s, self._row_counts = now_s, counts
        # A diverged loss is NaN or infinite, which JSON and messages cannot represent.
        gauges = {name: value for name, value in _merge(self._gauges).items() if math.isfinite(value)}
        self._row = {**counts, **rates, **gauges}
        self._tell(self._row)
        self._log.write({**self._row, **(more or {})})

    def send_status(
        self, state: Literal["running", "draining", "done"], more: Mapping[str, float] | None = None
    ) -> None:
        """Publish the newest row with fresh counters, the newest evaluation, and every peer's state."""
        counts = self._count()
        self._tell(counts)
        metrics = {**self._row, **counts, **(more or {})}
        self._publish(Status(state=state, metrics=metrics, **self._peers()._asdict()))

    def close(self) -> None:
        """Close the files."""
        self._log.close()

    def _count(self) -> Values:
        counts = _merge(self._counters)
        return {name: value + self._earlier.get(name, 0) for name, value in counts.items()}

    def _tell(self, values: Values) -> None:
        self._note({name: values[name] for name in self._noted if name in values})


def _merge(parts: Sequence[Measured]) -> Values:
    return {name: value for part in parts for name, value in part.metrics().items()}
