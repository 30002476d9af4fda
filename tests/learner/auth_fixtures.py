"""What the tests of the gate share: a learner's sockets with keys, and those who want in."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graspfleet.common.net.experience import ExperienceSender
from graspfleet.common.net.weights import WeightsSubscriber
from graspfleet.common.settings.flags import LearnerFlags
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.keys import main
from graspfleet.learner.access.sockets import Sockets
from tests.end_to_end.harness import until

HOST = "127.0.0.1"


class AuthServer:
    """A learner's sockets in this process, and a folder of keys."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.keys = folder / "keys"
        if not self.keys.exists():
            main(["init", str(self.keys)])
            main(["add", str(self.keys), "other"])
        free = {"experience_port": 0, "weights_port": 0, "control_port": 0, **limits}
        transport = TransportConfig(**{"keys": str(self.keys), **free})
        self.sockets = Sockets(LearnerFlags(learner=LearnerConfig(bind=HOST), transport=transport))
        self.endpoints = self.sockets.endpoints

    def sender(self, *, port: int | None = None, **keys: Any) -> ExperienceSender:
        """Return a connecting sender; `keys` instead of the first actor's."""
        sender = ExperienceSender(self.config(**keys))
        sender.connect(HOST, port or self.endpoints.experience_port)
        return sender

    def subscriber(self, *, port: int | None = None, **keys: Any) -> WeightsSubscriber:
        subscriber = WeightsSubscriber(self.config(**keys))
        subscriber.connect(HOST, port or self.endpoints.weights_port)
        return subscriber

    def config(self, **keys: Any) -> TransportConfig:
        return TransportConfig(**(keys or {"keys": str(self.keys), "key_name": "actor"}))

    def arrival(self, frame: bytes) -> str | None:
        """Return the name of the key that a frame came with, None if it does not come."""

        def come() -> tuple[str | None] | None:
            self.sockets.wait(0.05)
            received = self.sockets.receive()
            return (received.key,) if received is not None and bytes(received.frame) == frame else None

        try:
            return str(until(come, "the frame arrives", 1.0)[0])
        except AssertionError:
            return None

    def delivered(self, sender: ExperienceSender, frame: bytes, deadline_s: float = 10.0) -> str:
        """Send until it arrives; return the name of the key that it came with."""

        def come() -> str | None:
            sender.send(frame)
            return self.arrival(frame)

        return str(until(come, f"{frame!r} arrives", deadline_s))

    def hears(self, subscriber: WeightsSubscriber, frame: bytes) -> bool:
        """Publish for a while; return whether the subscriber hears it."""

        def heard() -> bool:
            self.sockets.weights.publish(frame)
            subscriber.wait(0.02)
            found = subscriber.newest()
            return found is not None and bytes(found) == frame

        try:
            return bool(until(heard, "it is heard", 1.0))
        except AssertionError:
            return False


@contextmanager
def auth_server(folder: Path, **limits: Any) -> Iterator[AuthServer]:
    step = AuthServer(folder, **limits)
    try:
        yield step
    finally:
        step.sockets.close()


def plain_connection(port: int) -> socket.socket:
    """Return a bare TCP connection to the learner."""
    return socket.create_connection((HOST, port), timeout=10)
