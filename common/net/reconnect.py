"""Reconnection of a socket in cases in which libzmq itself gives up.

libzmq reconnects after a lost connection, but never after a protocol error or a rejected key, and it tries
only the first address of a name. Another program on the learner's port for a moment, a key added a minute
late, or a `localhost` that resolves to `::1` first would therefore disconnect an actor forever. This module
monitors the socket's events and reconnects to each address in turn.
"""

import logging
import time

import zmq

from graspfleet.common.net.addresses import Addresses
from graspfleet.common.net.monitor import Monitor
from graspfleet.common.runtime.interval import Interval

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.5
RETRY_AFTER_S = 1.0
"""Seconds that libzmq has to start a reconnection by itself."""
NEXT_AFTER_S = 5.0
"""Seconds that an address has to answer before the next one is tried."""


class Reconnector:
    """Connects one socket, and reconnects it for as long as `poll` is called.

    Args:
        socket: not yet connected.
        host: a name or an address.
        port: of the peer.
        key: name of our key, for the log.
        silent_after_s: seconds without a message after which a connection is renewed; None: never.

    Attributes:
        refused: whether the peer rejected our key at the last handshake.
    """

    def __init__(
        self,
        socket: "zmq.Socket[bytes]",
        host: str,
        port: int,
        *,
        key: str | None,
        silent_after_s: float | None = None,
    ) -> None:
        self.refused = False
        self._socket, self._port, self._key, self._silent_after_s = socket, port, key, silent_after_s
        self._addresses = Addresses(host)
        self._endpoint: str | None = None
        self._due = Interval(POLL_INTERVAL_S)
        self._lost_s: float | None = None
        self._next_s = self._heard_s = time.monotonic()
        self._connected = self._warned = False
        self._monitor = Monitor(
            socket,
            zmq.EVENT_DISCONNECTED
            | zmq.EVENT_CONNECT_RETRIED
            | zmq.EVENT_HANDSHAKE_SUCCEEDED
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        )
        self._connect(time.monotonic(), anew=True)

    @property
    def lookup_error(self) -> str | None:
        """Reason of a failed lookup, for the user; None if an address is known or a lookup is in progress."""
        return self._addresses.error if self._endpoint is None else None

    def heard(self) -> None:
        """Note that a message has arrived."""
        self._heard_s = time.monotonic()

    def poll(self) -> None:
        """Process the socket's events, and reconnect if libzmq does not."""
        now_s = time.monotonic()
        if not self._due.due(now_s):
            return
        for event, _, _ in self._monitor.events():
            self._note(event, now_s)
        lost = self._lost_s is not None and now_s - self._lost_s > RETRY_AFTER_S
        unanswered = not self._connected and now_s >= self._next_s
        silent = self._silent_after_s is not None and now_s - self._heard_s > self._silent_after_s
        if lost or unanswered or silent:
            self._connect(now_s, anew=lost or silent)

    def close(self) -> None:
        """Stop monitoring; call it before the socket is closed."""
        self._monitor.close()

    def _connect(self, now_s: float, *, anew: bool) -> None:
        """Connect to the next address instead of the current one.

        Args:
            now_s: monotonic time.
            anew: reconnect even if the address is the same, because libzmq does not retry it.
        """
        self._lost_s, self._next_s, self._heard_s = None, now_s + NEXT_AFTER_S, now_s
        address = self._addresses.next()
        if address is None:
            self._next_s = now_s
            if self.lookup_error is not None and not self._warned:
                self._warned = True
                log.warning("%s; retrying", self.lookup_error)
            return
        endpoint = f"tcp://{bracketed(address)}:{self._port}"
        if endpoint == self._endpoint and not anew:
            return
        if self._endpoint is not None:
            self._socket.disconnect(self._endpoint)
        self._connected = False
        self._endpoint = endpoint
        self._socket.connect(endpoint)

    def _note(self, event: int, now_s: float) -> None:
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.refused, self._connected, self._lost_s = False, True, None
            self._heard_s = now_s
            return
        if event == zmq.EVENT_CONNECT_RETRIED:  # libzmq retries the same address itself
            self._lost_s = None
            if not self._connected:
                self._next_s = now_s
            return
        if event == zmq.EVENT_DISCONNECTED:
            self._lost_s, self._connected = now_s, False
            self._next_s = now_s + NEXT_AFTER_S
            return
        if not self.refused:
            log.warning("%s: the learner rejects key %s: revoked, or not added", self._endpoint, self._key)
        self.refused = True


def bracketed(host: str) -> str:
    """Return `host` as part of an endpoint: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
