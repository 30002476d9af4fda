"""Process starts whose sessions are no longer kept: what they delivered in all, and who they were."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

MAX_FORGOTTEN = 1_000_000
"""Process starts that are told apart from new ones; about 70 bytes of memory and 8 of the journal each."""


class ClosedSessions:
    """Sums over sessions that were closed, and a digest of each process that could be taken for a new one.

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
        """Know a process again, should it come back: what it has delivered must not be taken twice."""
        self._digests.add(_digest(sender))

    def state_dict(self) -> dict[str, Any]:
        """Return sums and digests as plain values."""
        return {"totals": dict(self.totals), "digests": np.fromiter(self._digests, "<u8").tobytes()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.totals = Counter(state["totals"])
        self._digests = set(np.frombuffer(state["digests"], "<u8").tolist())


def _digest(sender: tuple[str, str]) -> int:
    return int.from_bytes(hashlib.blake2b(" ".join(sender).encode(), digest_size=8).digest(), "little")
