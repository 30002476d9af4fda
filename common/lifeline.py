"""Keeps a connecting socket connected where libzmq itself would give up.

libzmq reconnects after a lost connection, but never again after one that answered nonsense or refused our
key. Something else on the learner's port for a moment, or a key that is listed a minute late, would cut an
actor off for ever. This watches the socket's events and connects anew.
"""

import logging
import time

import zmq

from common.interval import Interval
from common.monitor import Monitor

log = logging.getLogger(__name__)

LOOK_INTERVAL_S = 0.5
RETRY_AFTER_S = 1.0
"""A connection that libzmq has not begun to renew by then is renewed here."""


class Lifeline:
    """Watches one connecting socket; call `tend` now and then.

    Args:
        socket: not yet connected.
        endpoint: where it will connect.
        key: name of the key that it shows, for the log.

    Attributes:
        refused: whether the peer's last word was that it does not let our key in.
    """

    def __init__(self, socket: "zmq.Socket[bytes]", endpoint: str, *, key: str | None) -> None:
        self.refused = False
        self._socket, self._endpoint, self._key = socket, endpoint, key
        self._look = Interval(LOOK_INTERVAL_S)
        self._lost_s: float | None = None
        self._monitor = Monitor(
            socket,
            zmq.EVENT_DISCONNECTED
            | zmq.EVENT_CONNECT_RETRIED
            | zmq.EVENT_HANDSHAKE_SUCCEEDED
            | zmq.EVENT_HANDSHAKE_FAILED_AUTH,
        )

    def tend(self) -> None:
        """Look at what happened, and connect anew if libzmq does not."""
        now_s = time.monotonic()
        if not self._look.due(now_s):
            return
        for event, _, _ in self._monitor.news():
            self._note(event, now_s)
        if self._lost_s is not None and now_s - self._lost_s > RETRY_AFTER_S:
            self._lost_s = None
            self._socket.disconnect(self._endpoint)
            self._socket.connect(self._endpoint)

    def close(self) -> None:
        """Stop watching; before the socket is closed."""
        self._monitor.close()

    def _note(self, event: int, now_s: float) -> None:
        if event == zmq.EVENT_DISCONNECTED:
            self._lost_s = now_s
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            if not self.refused:
                log.warning(
                    "%s: the learner refuses key %s: revoked, or not added", self._endpoint, self._key
                )
            self.refused = True
        else:  # libzmq reconnects by itself, or has
            self._lost_s = None
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self.refused = False
