"""Dropped messages by reason: each message is counted, each reason is logged once per sender."""

import logging
from collections import Counter

from graspfleet.common.errors import ProtocolError

log = logging.getLogger(__name__)

MAX_LOGGED = 1000
"""Largest number of log lines, so that no peer can fill the disk."""


class Complaints:
    """Counts by kind and reason.

    Attributes:
        counters: counts by kind, and by "kind: reason".
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._logged: set[tuple[str, str]] = set()

    def count(self, what: str, error: ProtocolError) -> None:
        """Count a dropped message without logging it."""
        self.counters[what] += 1
        self.counters[f"{what}: {error.reason}"] += 1

    def add(self, what: str, who: str, error: ProtocolError) -> None:
        """Count a dropped message; log the first one for each sender and reason."""
        self.count(what, error)
        if (who, error.reason) not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add((who, error.reason))
            log.warning("%s from %s: %s (further ones are only counted)", what, who, error)
