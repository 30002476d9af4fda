"""The declaration of a metric, made by the part that measures it."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Values = dict[str, float]
"""Metrics by name."""


class Metric(NamedTuple):
    """Definition of a metric; `docs/metrics.md` has the same text.

    Attributes:
        unit: of the number.
        equation: how it comes about.
        kind: a gauge may fall; a journaled counter comes back from the journal's entries after a crash; any
            other counter goes on from what was last told of it.
    """

    unit: str
    equation: str
    kind: Literal["gauge", "counter", "journaled"] = "gauge"


Metrics = Mapping[str, Metric]
