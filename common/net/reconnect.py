"""Keeps a connecting socket connected where libzmq itself would give up.

libzmq reconnects after a lost connection, but never again after one that answered nonsense or refused our
key, and it only ever tries one of the addresses that a name stands for. Something else on the learner's port
for a moment, a key that is listed a minute late, or a `localhost` that is `::1` first would cut an actor off
for ever. This watches the socket's events and connects anew, to one address after the other.
"""

import logging
import time

import zmq

from common.net.addresses import Addresses
from common.net.monitor import Monitor
from common.runtime.interval import Interval

log = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.5
RETRY_AFTER_S = 1.0
"""A connection that libzmq has not begun to renew by then is renewed here."""
NEXT_AFTER_S = 5.0
"""An address that has not answered by then is left for the next one."""


class Reconnector:
    """Connects one socket; call `poll` now and then.

    Args:
        socket: not yet connected.
        host: a name or an address.
        port: at the host.
        key: name of the key that it shows, for the log.
        silent_after_s: a connection over which nothing has come for so long is renewed; None: never.

    Attributes:
        refused: whether the peer's last word was that it does not let our key in.
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
        self._connected = self._complained = False
        self._monitor = Monitor(
            socket,
            zmq.EVENT_DISCONNECTED
            | zmq.EVENT_CONNECT_RETRIED
            | zmq.EVENT_HANDSHAKE_SUCCEEDED
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        )
        self._connect(time.monotonic(), anew=True)

    @property
    def trouble(self) -> str | None:
        """Why no address is known, for the user; None when one is."""
        return self._addresses.trouble if self._endpoint is None else None

    def heard(self) -> None:
        """Note that something has come."""
        self._heard_s = time.monotonic()

    def poll(self) -> None:
        """Look at what happened, and connect anew if libzmq does not."""
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
        """Stop watching; before the socket is closed."""
        self._monitor.close()

    def _connect(self, now_s: float, *, anew: bool) -> None:
        """Connect to the next address, in place of the last one.

        Args:
            now_s: monotonic time.
            anew: also if it is the same one, where libzmq does not try again by itself.
        """
        self._lost_s, self._next_s, self._heard_s = None, now_s + NEXT_AFTER_S, now_s
        address = self._addresses.next()
        if address is None:
            self._next_s = now_s
            if self.trouble is not None and not self._complained:
                self._complained = True
                log.warning("%s; looking for it again and again", self.trouble)
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
        if event == zmq.EVENT_CONNECT_RETRIED:  # libzmq tries the same address again by itself
            self._lost_s = None
            if not self._connected:
                self._next_s = now_s
            return
        if event == zmq.EVENT_DISCONNECTED:
            self._lost_s, self._connected = now_s, False
            self._next_s = now_s + NEXT_AFTER_S
            return
        if not self.refused:
            log.warning("%s: the learner refuses key %s: revoked, or not added", self._endpoint, self._key)
        self.refused = True


def bracketed(host: str) -> str:
    """Return `host` as it stands in an endpoint; IPv6 addresses go in brackets."""
    return f"[{host}]" if ":" in host else host
