"""Closed sessions: the sums of what they delivered, and digests to recognize them."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

MAX_FORGOTTEN = 1_000_000
"""Largest number of digests kept; each takes about 70 bytes of memory and 8 bytes of the journal."""


class ClosedSessions:
    """Sums over closed sessions, and a digest of each one that might otherwise be mistaken for a new session.

    Attributes:
        totals: sums by name.
    """

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self._digests: set[int] = set()

    def __contains__(self, sender: tuple[str, str]) -> bool:
        return bool(self._digests) and _digest(sender) in self._digests

    def __len__(self) -> int:
        return len(self._digests)

    def remember(self, sender: tuple[str, str]) -> None:
        """Keep a digest of a sender, so that its batches are not taken twice if it comes back."""
        self._digests.add(_digest(sender))

    def state_dict(self) -> dict[str, Any]:
        """Return the sums and digests as plain values."""
        return {"totals": dict(self.totals), "digests": np.fromiter(self._digests, "<u8").tobytes()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`."""
        self.totals = Counter(state["totals"])
        self._digests = set(np.frombuffer(state["digests"], "<u8").tolist())


def _digest(sender: tuple[str, str]) -> int:
    return int.from_bytes(hashlib.blake2b(" ".join(sender).encode(), digest_size=8).digest(), "little")
