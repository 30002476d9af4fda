"""The three channels as sockets: experience (PUSH/PULL), weights and control (PUB/SUB).

In and out: whole frames as bytes; what is in them is `common.protocol`'s. Every limit comes from
`TransportConfig` and is set before bind or connect (CONFLATE and HWM do nothing afterwards). No call
blocks except `wait`, and no peer that is absent, slow or gone is an error.
"""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

import zmq

from common.addresses import host_of
from common.config import TransportConfig, flag
from common.errors import ConfigError
from common.lifeline import LOOK_INTERVAL_S, Lifeline, bracketed
from common.protocol import Buffer
from common.security import actor_keys, learner_keys, require_private

ACK_TOPIC = b"ack/%s\0"
"""One actor's: its acknowledgements, and the refusal if it is refused."""
STATUS_TOPIC = b"status\0"
_KEEPALIVE_MS = 1000
_LOST_AFTER_MS = 10_000
_LOST_HOSTS = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: _KEEPALIVE_MS // 1000,
    zmq.TCP_KEEPALIVE_INTVL: _KEEPALIVE_MS // 1000,
    zmq.TCP_KEEPALIVE_CNT: _LOST_AFTER_MS // _KEEPALIVE_MS,
    zmq.TCP_MAXRT: _LOST_AFTER_MS,
}
"""The kernels notice a peer whose host died and sends no FIN. ZeroMQ's own heartbeats must stay off: with
them libzmq 4.3 aborts the process when a peer dies while its messages wait unread (an assertion on
`_io_error`), and a subscriber's pings would add to the bytes that the learner bounds."""
SUBSCRIPTION_MAX_BYTES = 1024
"""Longest message to a publisher: a subscription, or a part of the handshake (400 bytes)."""
MESSAGE_OVERHEAD_BYTES = 42 + 128
"""What a message adds to the bytes of a connection: header and encryption, and pings since the last one."""
LOOK_EVERY_N = 4
"""Receives between two looks at who else has something; each costs 3 us, a receive 2 us."""
ZAP_DOMAIN = b"graspfleet"
"""Any non-empty name: with it, and enforced, a socket without a gatekeeper lets nobody in."""


class Received(NamedTuple):
    """A frame, and whose it is.

    Attributes:
        frame: bytes that may hold anything.
        key: name of the key that its sender proved to have; None when nothing is encrypted.
    """

    frame: Buffer
    key: str | None = None


class Channel:
    """One socket with the project's limits on it.

    Args:
        kind: ZeroMQ socket type.
        config: limits.
        hwm_n: messages queued per connection and direction.
        conflate: keep only the newest message.

    Attributes:
        silent_after_s: a connection over which nothing has come for so long is renewed; None: never.
    """

    silent_after_s: float | None = None

    def __init__(self, kind: int, config: TransportConfig, *, hwm_n: int, conflate: bool = False) -> None:
        self.config = config
        publishes = kind == zmq.PUB
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(kind)
        self.socket.set_hwm(hwm_n)
        options = {
            zmq.CONFLATE: int(conflate),
            zmq.MAXMSGSIZE: SUBSCRIPTION_MAX_BYTES if publishes else config.max_message_bytes,
            zmq.LINGER: 0,
            zmq.RECONNECT_IVL: 50,
            zmq.RECONNECT_IVL_MAX: round(config.reconnect_max_s * 1000),
            **_LOST_HOSTS,
            zmq.HANDSHAKE_IVL: round(config.handshake_timeout_s * 1000),
            zmq.IPV6: 1,
        }
        for option, value in options.items():
            self.socket.setsockopt(option, value)
        self._lifeline: Lifeline | None = None
        self._encrypted = False

    def bind(self, host: str, port: int, name: str) -> int:
        """Listen, and return the port (a free one for 0).

        Raises:
            ConfigError: the port is taken, the address is not this machine's, or its keys are unusable.
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
                    f"{flag(name)} {port}: taken on {host}; allowed: a free port, or 0"
                ) from None
            raise ConfigError(
                f"--bind {host}: {error.strerror}; allowed: an address of this machine"
            ) from None
        endpoint = self.socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(endpoint, bytes)
        return int(endpoint.rstrip(b"\0").rsplit(b":", 1)[1])

    def connect(self, host: str, port: int) -> None:
        """Connect now or as soon as the peer is there; reconnect for ever.

        Raises:
            ConfigError: `host` is no host name or address, leaves this machine unprotected, or the keys are
                unusable.
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
        self._lifeline = Lifeline(self.socket, host, port, key=key, silent_after_s=self.silent_after_s)

    def wait(self, timeout_s: float) -> bool:
        """Return whether something can be received, after at most `timeout_s`."""
        if self._lifeline is None:
            return bool(self.socket.poll(max(0, round(timeout_s * 1000))))
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._lifeline.tend()
            left_s = max(0.0, deadline_s - time.monotonic())
            if self.socket.poll(round(min(left_s, LOOK_INTERVAL_S) * 1000)):
                return True
            if left_s <= LOOK_INTERVAL_S:
                return False

    def close(self, linger_s: float = 0.0) -> None:
        """Close; what is still unsent is tried for `linger_s`."""
        if self._lifeline is not None:
            self._lifeline.close()
        self.socket.close(round(linger_s * 1000))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    @property
    def trouble(self) -> str | None:
        """Why the learner cannot be looked for, for the user; None when it can."""
        return None if self._lifeline is None else self._lifeline.trouble

    @property
    def refused(self) -> bool:
        """Whether the learner does not let this process's key in."""
        return self._lifeline is not None and self._lifeline.refused

    def _send(self, parts: Sequence[Buffer]) -> bool:
        if self._lifeline is not None:
            self._lifeline.tend()
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _receive(self) -> list[zmq.Frame] | None:
        if self._lifeline is not None:
            self._lifeline.tend()
        try:
            first = self.socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        if self._lifeline is not None:
            self._lifeline.heard()
        # pyzmq asks the socket after every part whether there is more; the frame knows, at half the price.
        return [first, *self.socket.recv_multipart(copy=False)] if first.more else [first]


class ExperienceSender(Channel):
    """An actor's end of the experience channel."""

    def __init__(self, config: TransportConfig) -> None:
        super().__init__(zmq.PUSH, config, hwm_n=config.experience_hwm)

    def send(self, frame: Buffer) -> bool:
        """Queue a frame; False when the queue is full (try again later)."""
        return self._send([frame])


class ExperienceReceiver(Channel):
    """The learner's end of the experience channel.

    Attributes:
        taken: libzmq's descriptor of a connection -> bytes received that came over it; only grows, so that
            another thread may read it.
        emptied: how often there was nothing to receive.
    """

    def __init__(self, config: TransportConfig) -> None:
        super().__init__(zmq.PULL, config, hwm_n=config.experience_hwm)
        self.taken: dict[int, int] = {}
        self.emptied = 0
        self._receives = 0

    def receive(self) -> Received | None:
        """Return the next frame, or None when there is none now; several parts are one bad frame.

        Peers take turns. libzmq alone notices a peer that has something again only when the others have
        nothing left or at every hundredth receive; reading a socket's events makes it notice.
        """
        self._receives += 1
        if self._receives % LOOK_EVERY_N == 0:
            self.socket.getsockopt(zmq.EVENTS)
        parts = self._receive()
        if parts is None:
            self.emptied += 1
            return None
        descriptor = parts[0].get(zmq.SRCFD)
        size_bytes = sum(map(len, parts)) + len(parts) * MESSAGE_OVERHEAD_BYTES
        self.taken[descriptor] = self.taken.get(descriptor, 0) + size_bytes
        frame = parts[0].buffer if len(parts) == 1 else memoryview(b"")
        return Received(frame, str(parts[0].get("User-Id")) if self._encrypted else None)


class WeightsPublisher(Channel):
    """The learner's end of the weights channel; a slow reader gets the newest frame alone."""

    def __init__(self, config: TransportConfig) -> None:
        super().__init__(zmq.PUB, config, hwm_n=1, conflate=True)

    def publish(self, frame: Buffer) -> None:
        """Send to every connected actor."""
        self._send([frame])


class WeightsSubscriber(Channel):
    """An actor's end of the weights channel."""

    def __init__(self, config: TransportConfig) -> None:
        super().__init__(zmq.SUB, config, hwm_n=1, conflate=True)
        self.socket.subscribe(b"")

    def newest(self) -> memoryview | None:
        """Return the newest frame not yet seen, if any."""
        parts = self._receive()
        return parts[0].buffer if parts else None


class ControlPublisher(Channel):
    """The learner's end of the control channel."""

    def __init__(self, config: TransportConfig) -> None:
        super().__init__(zmq.PUB, config, hwm_n=config.control_hwm)

    def acknowledge(self, actor_id: str, frame: Buffer) -> None:
        """Send an `Ack` to one actor."""
        self._send([ACK_TOPIC % actor_id.encode(), frame])

    def refuse(self, actor_id: str, frame: Buffer) -> None:
        """Send a `Refusal` to one actor or evaluator."""
        self._send([ACK_TOPIC % actor_id.encode(), frame])

    def status(self, frame: Buffer) -> None:
        """Send a `Status` to everyone."""
        self._send([STATUS_TOPIC, frame])


class ControlSubscriber(Channel):
    """Hears the learner's status, and what is said to one actor (or evaluator) if `actor_id` is given."""

    silent_after_s = _LOST_AFTER_MS / 1000

    def __init__(self, config: TransportConfig, actor_id: str | None = None) -> None:
        super().__init__(zmq.SUB, config, hwm_n=config.control_hwm)
        self.socket.subscribe(STATUS_TOPIC)
        if actor_id is not None:
            self.socket.subscribe(ACK_TOPIC % actor_id.encode())

    def receive(self) -> memoryview | None:
        """Return the next frame, or None when there is none now."""
        parts = self._receive()
        return None if parts is None else parts[-1].buffer


def _checked(name: str, host: str, *, wildcard: bool = False) -> str:
    try:
        return host_of(host, wildcard=wildcard)
    except ValueError as error:
        raise ConfigError(f"{name} {host}: {error}") from None
