"""Limits on the memory that a connection may occupy, depending on its stage.

libzmq limits the size of a single message. It does not limit handshakes that never end, the number of parts
of a message, or a subscriber's subscriptions; the kernel's count of received bytes limits all three.
"""

from collections.abc import Mapping
from typing import Protocol

from graspfleet.learner.access.tcp import TcpState

HANDSHAKE_BYTES = 4096
"""Bytes that a connection may send before authentication; a handshake takes 600."""
WELCOMED_BYTES = 234
"""Bytes that the learner sends before authentication: greeting (64) and WELCOME (170), RFC 26/CURVEZMQ."""
SUBSCRIBER_BYTES = 4096
"""Bytes that a subscriber may send, handshake included; an actor sends 900. Each byte of a subscription may
cost 32 bytes of memory."""
MAX_UNREAD_MESSAGES = 2
"""Unread bytes allowed per connection, as a multiple of the largest message."""


class Reader(Protocol):
    """The part that receives messages from libzmq."""

    @property
    def taken(self) -> Mapping[int, int]:
        """Bytes received from libzmq so far, headers included, by libzmq's descriptor of the connection."""

    @property
    def emptied(self) -> int:
        """Number of receive calls that found no message."""


class Allowance:
    """Bytes sent over one connection, checked against its limit.

    Args:
        descriptor: libzmq's descriptor of the connection.
        reader: receives its messages; None for a subscriber, which sends none.
        unread_bytes: largest number of bytes that may wait to be read.
        welcomed: whether no handshake is needed, as in plaintext.

    Attributes:
        welcomed: whether its handshake is over.
        unread: bytes received by the kernel and not yet read; for a subscriber, all bytes received.
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
        """Bytes read so far; read this before asking the kernel for the bytes received."""
        return 0 if self._reader is None else self._reader.taken.get(self._descriptor, 0)

    def exceeded(self, state: TcpState, taken: int) -> bool:
        """Account for the bytes received since the last call; return whether the limit is exceeded.

        The kernel also counts pings; in compensation, each message read counts for slightly more than its
        size. The difference is clamped at zero, so that a peer cannot accumulate credit.

        Args:
            state: newest state of the connection.
            taken: value of `taken` read just before `state`.
        """
        self.unread = max(0, self.unread + state.received - self._received - (taken - self._taken))
        self._received, self._taken = state.received, taken
        self.welcomed = self.welcomed or state.acknowledged > WELCOMED_BYTES
        return self.unread > (self._limit if self.welcomed else HANDSHAKE_BYTES)

    @property
    def excess(self) -> tuple[str, str]:
        """The counter for a connection that sent too much, and the reason for the log."""
        if not self.welcomed:
            return "cut_handshakes", f"it sent more than {HANDSHAKE_BYTES} bytes before showing its key"
        if self._reader is None:
            return "cut_connections", f"a subscriber sent more than {SUBSCRIBER_BYTES} bytes"
        return "cut_connections", f"it sent more than {self._limit} bytes that have not been read"
