"""Declaration of a metric; each part declares the metrics that it measures."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Values = dict[str, float]
"""Metrics by name."""


class Metric(NamedTuple):
    """Definition of a metric; `docs/metrics.md` has the same text.

    Attributes:
        unit: unit of the value.
        equation: how the value is computed.
        kind: a gauge may fall; a journaled counter is rebuilt from the journal's entries after a crash; any
            other counter continues from its last reported value.
    """

    unit: str
    equation: str
    kind: Literal["gauge", "counter", "journaled"] = "gauge"


Metrics = Mapping[str, Metric]
