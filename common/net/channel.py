"""A ZeroMQ socket with this project's limits: bind or connect, send and receive whole frames.

Every limit comes from `TransportConfig` and is set before bind or connect (CONFLATE and HWM have no effect
afterwards). No call blocks except `wait`, and a peer that is absent, slow or gone is not an error.
"""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import zmq

from graspfleet.common.errors import ConfigError
from graspfleet.common.net.addresses import host_of
from graspfleet.common.net.reconnect import POLL_INTERVAL_S, Reconnector, bracketed
from graspfleet.common.net.security import actor_keys, learner_keys, require_private
from graspfleet.common.protocol import Buffer
from graspfleet.common.settings.section import flag
from graspfleet.common.settings.transport import TransportConfig

_KEEPALIVE_MS = 1000
LOST_AFTER_MS = 10_000
_KEEPALIVE = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: _KEEPALIVE_MS // 1000,
    zmq.TCP_KEEPALIVE_INTVL: _KEEPALIVE_MS // 1000,
    zmq.TCP_KEEPALIVE_CNT: LOST_AFTER_MS // _KEEPALIVE_MS,
    zmq.TCP_MAXRT: LOST_AFTER_MS,
}
"""TCP keepalive detects a peer whose host died without a FIN. ZeroMQ's own heartbeats must stay off: with
them, libzmq 4.3 aborts the process when a peer dies with unread messages (an assertion on `_io_error`), and a
subscriber's pings would count against the learner's limit of unread bytes."""
SUBSCRIPTION_MAX_BYTES = 1024
"""Longest message to a publisher: a subscription, or a handshake command (400 bytes)."""
ZAP_DOMAIN = b"graspfleet"
"""ZAP domain of every bound socket. It is enforced: without an authenticator a socket accepts no peer."""


class Channel:
    """One socket with this project's limits.

    Args:
        kind: ZeroMQ socket type.
        config: limits.
        hwm: messages queued per connection and direction.
        conflate: keep only the newest message.

    Attributes:
        silent_after_s: seconds without a message after which a connection is renewed; None: never.
    """

    silent_after_s: float | None = None

    def __init__(self, kind: int, config: TransportConfig, *, hwm: int, conflate: bool = False) -> None:
        self.config = config
        publishes = kind == zmq.PUB
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
        self.socket.set_hwm(hwm)
        options = {
            zmq.CONFLATE: int(conflate),
            zmq.MAXMSGSIZE: SUBSCRIPTION_MAX_BYTES if publishes else config.max_message_bytes,
            zmq.LINGER: 0,
            zmq.RECONNECT_IVL: 50,
            zmq.RECONNECT_IVL_MAX: round(config.reconnect_max_s * 1000),
            **_KEEPALIVE,
            zmq.HANDSHAKE_IVL: round(config.handshake_timeout_s * 1000),
            zmq.IPV6: 1,
        }
        for option, value in options.items():
            self.socket.setsockopt(option, value)
        self._reconnector: Reconnector | None = None
        self._encrypted = False

    def bind(self, host: str, port: int, name: str) -> int:
        """Listen, and return the port (a free one if `port` is 0).

        Raises:
            ConfigError: the port is taken, the address is not this machine's, or the keys are unusable.
        """
        host = _checked("--bind", host, wildcard=True)
        keys = learner_keys(self.config)
        if keys is None:
            require_private("--bind", host, insecure=self.config.insecure)
        else:
            self.socket.setsockopt(zmq.CURVE_SERVER, 1)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
            self.socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
            self.socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
            self._encrypted = True
        try:
            self.socket.bind(f"tcp://{bracketed(host)}:{port or '*'}")
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise ConfigError(
                    f"{flag(name)} {port}: already in use on {host}; allowed: a free port, or 0"
                ) from None
            raise ConfigError(
                f"--bind {host}: {error.strerror}; allowed: an address of this machine"
            ) from None
        endpoint = self.socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        return int(endpoint.rstrip(b"\0").rsplit(b":", 1)[1])

    def connect(self, host: str, port: int) -> None:
        """Connect now or as soon as the peer listens, and reconnect forever.

        Raises:
            ConfigError: `host` is not a host name or address, is another machine although there are no keys,
                or the keys are unusable.
        """
        host = _checked("--learner", host)
        keys = actor_keys(self.config)
        if keys is None:
            require_private("--learner", host, insecure=self.config.insecure)
        else:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, keys.learner)
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)
        key = None if keys is None else keys.name
        self._reconnector = Reconnector(self.socket, host, port, key=key, silent_after_s=self.silent_after_s)

    def wait(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s` for a message; return whether there is one."""
        if self._reconnector is None:
            return bool(self.socket.poll(max(0, round(timeout_s * 1000))))
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._reconnector.poll()
            left_s = max(0.0, deadline_s - time.monotonic())
            if self.socket.poll(round(min(left_s, POLL_INTERVAL_S) * 1000)):
                return True
            if left_s <= POLL_INTERVAL_S:
                return False

    def close(self, linger_s: float = 0.0) -> None:
        """Close the socket; libzmq tries to send pending messages for up to `linger_s`."""
        if self._reconnector is not None:
            self._reconnector.close()
        self.socket.close(round(linger_s * 1000))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket."""
        self.close()

    @property
    def lookup_error(self) -> str | None:
        """Reason of a failed lookup of the learner's host, for the user; None if there is none."""
        return None if self._reconnector is None else self._reconnector.lookup_error

    @property
    def refused(self) -> bool:
        """True if the learner rejected this process's key."""
        return self._reconnector is not None and self._reconnector.refused

    def _send(self, parts: Sequence[Buffer]) -> bool:
        if self._reconnector is not None:
            self._reconnector.poll()
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _receive(self) -> list[zmq.Frame] | None:
        if self._reconnector is not None:
            self._reconnector.poll()
        try:
            first = self.socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        if self._reconnector is not None:
            self._reconnector.heard()
        # pyzmq queries the socket for more parts after each one; the frame's own flag costs half as much.
        return [first, *self.socket.recv_multipart(copy=False)] if first.more else [first]


def _checked(name: str, host: str, *, wildcard: bool = False) -> str:
    try:
        return host_of(host, wildcard=wildcard)
    except ValueError as error:
        raise ConfigError(f"{name} {host}: {error}") from None
