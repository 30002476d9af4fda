"""Authentication of keys at the learner's sockets, and limits on their connections.

Runs in its own thread, because a handshake must be answered while an update runs. It shares with the loop
only counters that it alone changes, and the allow-list's names, which are replaced as a whole.
"""

import logging
import sys
import threading
from collections import Counter

import zmq
from zmq.utils import z85

from graspfleet.common.runtime.interval import Interval
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.learner.access.allow_list import AllowList
from graspfleet.learner.access.connections import Connections
from graspfleet.learner.access.files_limit import allow_connections
from graspfleet.learner.access.limits import Reader

log = logging.getLogger(__name__)

ZAP_ADDRESS = "inproc://zeromq.zap.01"
"""Endpoint of libzmq's authentication requests (ZAP, https://rfc.zeromq.org/spec/27)."""
RELOAD_INTERVAL_S = 1.0
"""Seconds between checks of the allow-list for changes."""
_POLL_S = 0.2
SWITCH_S = 0.0005
"""Longest time in seconds that a thread holds the interpreter lock while another one waits."""
COUNTERS = (
    "refused_handshakes",
    "refused_connections",
    "cut_handshakes",
    "cut_connections",
    "broken_connections",
)


class Authenticator:
    """Answers libzmq's authentication requests, follows the allow-list, and limits the connections.

    libzmq does not report which key a connection uses, so a revocation closes all of them: those still
    allowed reconnect within milliseconds, and messages in flight are sent again.

    Args:
        allowed: allowed keys; None for plaintext, where connections are only counted and limited.
        config: limits of the connections.

    Attributes:
        counters: `refused_handshakes` (the key is not allowed), `refused_connections` (too many),
            `cut_handshakes` and `cut_connections` (they sent too much), and `broken_connections` (libzmq
            closed them).
    """

    def __init__(self, allowed: AllowList | None, config: TransportConfig) -> None:
        self.counters = Counter(dict.fromkeys(COUNTERS, 0))
        self._allowed = allowed
        self._connections = Connections(
            config, allow_connections(config), self.counters, encrypted=allowed is not None
        )
        self._poller = zmq.Poller()
        self._zap: zmq.Socket[bytes] | None = None
        if allowed is not None:
            self._zap = zmq.Context.instance().socket(zmq.REP)
            self._zap.bind(ZAP_ADDRESS)
            self._poller.register(self._zap, zmq.POLLIN)
        self._reload = Interval(RELOAD_INTERVAL_S)
        self._logged: set[str] = set()
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gate", daemon=True)

    def watch(self, bound: "zmq.Socket[bytes]", reader: Reader | None = None) -> None:
        """Watch a socket that is about to be bound; call before `start`.

        Args:
            bound: the socket.
            reader: receives the socket's messages; None if only subscriptions arrive there.
        """
        self._connections.watch(bound, reader, self._poller)

    def start(self) -> None:
        """Start the thread.

        The interpreter's switch interval is lowered from Python's 5 ms: each check takes the interpreter lock
        several times, and memory could grow by megabytes while it waits for the learner's loop.
        """
        sys.setswitchinterval(SWITCH_S)
        self._thread.start()

    def lets_in(self, key: str | None) -> bool:
        """Return whether the key of this name is still allowed; None is plaintext."""
        return self._allowed is None or key in self._allowed.members

    def public_key(self, key: str) -> str:
        """Return the public key (Z85) of a name; empty if it is no longer allowed."""
        names = {} if self._allowed is None else self._allowed.names
        return next((public.decode() for public, name in names.items() if name == key), "")

    def counts(self) -> dict[str, int]:
        """Return the metrics of connections and keys."""
        assert self._thread.is_alive(), "the authenticator's thread has died"
        keys = 0 if self._allowed is None else len(self._allowed.names)
        return {"connections": len(self._connections), "keys": keys, **self.counters}

    def close(self) -> None:
        """Stop the thread; call before the sockets are closed."""
        self._leaving.set()
        if self._thread.is_alive():
            self._thread.join()
        self._connections.close()
        if self._zap is not None:
            self._zap.unbind(ZAP_ADDRESS)  # libzmq would free the address later, in the background
            self._zap.close(0)

    def _run(self) -> None:
        while not self._leaving.is_set():
            self._poller.poll(round(1000 * min(_POLL_S, self._connections.pause_s)))
            while self._zap is not None and self._zap.poll(0):
                self._answer(self._zap)
            self._connections.look()
            if self._allowed is not None and self._reload.due_now() and self._allowed.reload():
                self._connections.end_all()

    def _answer(self, zap: "zmq.Socket[bytes]") -> None:
        """Answer one ZAP request: [version, request, domain, address, identity, mechanism, key]."""
        version, request, _, address, _, mechanism, *credentials = zap.recv_multipart()
        name: str | None = None
        if mechanism == b"CURVE" and len(credentials) == 1 and self._allowed is not None:
            name = self._allowed.names.get(z85.encode(credentials[0]))
        if name is None:
            self.counters["refused_handshakes"] += 1
            if (who := address.decode(errors="replace")) not in self._logged and len(self._logged) < 1000:
                self._logged.add(who)
                log.warning("refused a key that is not allowed, from %s (further ones are only counted)", who)
        verdict = (b"400", b"key not allowed", b"") if name is None else (b"200", b"OK", name.encode())
        zap.send_multipart([version, request, *verdict, b""])
