"""Dropped messages by reason: each one counted, each reason logged once."""

import logging
from collections import Counter

from graspfleet.common.errors import ProtocolError

log = logging.getLogger(__name__)

MAX_LOGGED = 1000
"""Lines in the log, so that nobody can fill the disk with them."""


class Complaints:
    """Counts by kind and reason.

    Attributes:
        counters: by kind, and by "kind: reason".
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._logged: set[tuple[str, str]] = set()

    def count(self, what: str, error: ProtocolError) -> None:
        """Count something that was dropped, without a word."""
        self.counters[what] += 1
        self.counters[f"{what}: {error.reason}"] += 1

    def add(self, what: str, who: str, error: ProtocolError) -> None:
        """Count something that was dropped; the first of its kind from a sender is logged."""
        self.count(what, error)
        if (who, error.reason) not in self._logged and len(self._logged) < MAX_LOGGED:
            self._logged.add((who, error.reason))
            log.warning("%s from %s: %s (further ones are only counted)", what, who, error)
