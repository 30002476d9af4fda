"""The experience channel: frames from the actors to the learner (PUSH/PULL)."""

from typing import NamedTuple

import zmq

from graspfleet.common.net.channel import Channel
from graspfleet.common.protocol import Buffer
from graspfleet.common.settings.transport import TransportConfig

MESSAGE_OVERHEAD_BYTES = 42 + 128
"""Bytes on the connection per message: header and encryption, and pings since the previous message."""
RECEIVES_PER_CHECK = 4
"""Receives between two checks for other peers with messages; a check costs 3 us, a receive 2 us."""


class Received(NamedTuple):
    """A frame and its authenticated sender.

    Attributes:
        frame: unvalidated bytes.
        key: name of the sender's key; None without encryption.
    """

    frame: Buffer
    key: str | None = None


class ExperienceSender(Channel):
    """An actor's end of the experience channel."""

    def __init__(self, config: TransportConfig) -> None:
        super().__init__(zmq.PUSH, config, hwm=config.experience_hwm)

    def send(self, frame: Buffer) -> bool:
        """Queue a frame; return False if the queue is full (try again later)."""
        return self._send([frame])


class ExperienceReceiver(Channel):
    """The learner's end of the experience channel.

    Attributes:
        taken: libzmq's descriptor of a connection -> bytes received over it; entries are never removed, so
            another thread may read it.
        emptied: number of receives that found no message.
    """

    def __init__(self, config: TransportConfig) -> None:
        super().__init__(zmq.PULL, config, hwm=config.experience_hwm)
        self.taken: dict[int, int] = {}
        self.emptied = 0
        self._receives = 0

    def receive(self) -> Received | None:
        """Return the next frame; None if there is none. A multipart message becomes one empty frame.

        Peers are served in turn. By itself, libzmq notices a newly active peer only when the others are idle
        or at every hundredth receive; reading the socket's events makes it check sooner.
        """
        self._receives += 1
        if self._receives % RECEIVES_PER_CHECK == 0:
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
