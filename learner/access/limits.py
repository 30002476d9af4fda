"""Limits on the memory that a connection may occupy, by its progress so far.

libzmq bounds a single message. It does not bound handshakes that never end, the parts of a message that never
ends, or what a subscriber asks it to remember; the kernel's count of bytes bounds all three.
"""

from collections.abc import Mapping
from typing import Protocol

from graspfleet.learner.access.tcp import TcpState

HANDSHAKE_BYTES = 4096
"""Bytes that a connection may send before authentication; the handshake takes 600."""
WELCOMED_BYTES = 234
"""Bytes that the learner sends before authentication: greeting (64) and WELCOME (170), RFC 26/CURVEZMQ."""
SUBSCRIBER_BYTES = 4096
"""Bytes that a subscriber may send, handshake included; an actor sends 900. Each byte of a subscription may
cost 32 bytes of memory."""
MAX_UNREAD_MESSAGES = 2
"""Largest messages that may have come over one connection and not been taken."""


class Reader(Protocol):
    """Whoever takes what has arrived out of libzmq."""

    @property
    def taken(self) -> Mapping[int, int]:
        """Libzmq's descriptor of a connection -> bytes taken that came over it, headers included."""

    @property
    def emptied(self) -> int:
        """Number of receives that found nothing."""


class Allowance:
    """Bytes sent over one connection, checked against its limit.

    Args:
        descriptor: libzmq's.
        reader: takes what comes; None for a subscriber, of whom nothing is taken.
        unread_bytes: that may wait to be taken.
        welcomed: whether it is let in already, as everybody is in plaintext.

    Attributes:
        welcomed: whether its handshake is over.
        unread: bytes received and not taken, of a subscriber: bytes received.
    """

    def __init__(self, descriptor: int, reader: Reader | None, *, unread_bytes: int, welcomed: bool) -> None:
        self.welcomed = welcomed
        self.unread = 0
        self._descriptor, self._reader = descriptor, reader
        self._limit = SUBSCRIBER_BYTES if reader is None else unread_bytes
        self._received = 0
        self._taken = self.taken

    @property
    def taken(self) -> int:
        """Bytes taken so far; to be read before the kernel is asked for those received."""
        return 0 if self._reader is None else self._reader.taken.get(self._descriptor, 0)

    def exceeded(self, state: TcpState, taken: int) -> bool:
        """Account for what has come since the last call; return whether it is too much.

        The kernel also counts pings; what is taken is counted a little too high for each message, so that
        they even out. Below zero that difference is forgotten and cannot be saved up.

        Args:
            state: newest of the connection.
            taken: `taken` just before.
        """
        self.unread = max(0, self.unread + state.received - self._received - (taken - self._taken))
        self._received, self._taken = state.received, taken
        self.welcomed = self.welcomed or state.acknowledged > WELCOMED_BYTES
        return self.unread > (self._limit if self.welcomed else HANDSHAKE_BYTES)

    @property
    def excess(self) -> tuple[str, str]:
        """The counter of whoever sends too much, and the reason for the log."""
        if not self.welcomed:
            return "cut_handshakes", f"more than {HANDSHAKE_BYTES} bytes before it has shown its key"
        if self._reader is None:
            return "cut_connections", f"a subscriber that sends more than {SUBSCRIBER_BYTES} bytes"
        return "cut_connections", f"more than {self._limit} bytes sent that cannot be taken"
