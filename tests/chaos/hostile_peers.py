"""Hostile peers of a busy learner: half-open connections, and damaged frames sent with a valid key."""

import json
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import zmq

from graspfleet.actor.environment import Environment
from graspfleet.common.net.experience import ExperienceSender
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.keys import main
from tests.chaos.audit import Audit, audit
from tests.chaos.crash_recovery import ENV, LEARNER_FLAGS
from tests.end_to_end.harness import DEADLINE_S, FREE_PORTS, Fleet, until
from tests.fakes import SESSION, add_transition, make_writer, seal

CAPACITY = 12_000_000
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE".ljust(54, b"\0")
"""ZMTP 3.0; the message after it is the first that costs the learner a computation."""


class ProtectedFleet:
    """A learner with keys and four honest actors.

    Args:
        folder: for everything that is written.
    """

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(folder)
        self.made = folder / "made"
        self.made.mkdir()
        self.keys = folder / "keys"
        main(["init", str(self.keys)])
        main(["add", str(self.keys), "mallory"])
        where = ("--keys", str(self.keys), "--run-dir", str(self.fleet.run.path), "--log-interval-s", "0.5")
        self.fleet.start("learner", "graspfleet.learner", *LEARNER_FLAGS, *FREE_PORTS, *where)
        until(self.fleet.run.endpoints.exists, "the learner listens")
        self.fleet.endpoints = self.fleet.run.read_endpoints()
        for index in range(4):
            self.start_actor(f"actor-{index}")

    def start_actor(self, name: str, key: str = "actor") -> None:
        who = ("--actor-id", name, "--keys", str(self.keys), "--key-name", key, "--linger-s", "30")
        env = ("--env", ENV, "--env-args", f"folder={self.made}")
        self.fleet.start(name, "graspfleet.actor", *env, *who, *self.fleet.addresses())

    def transport(self, key: str) -> TransportConfig:
        ports = self.fleet.transport().model_dump(include={"experience_port", "weights_port", "control_port"})
        return TransportConfig(**ports, keys=str(self.keys), key_name=key)

    def row(self) -> dict[str, Any]:
        """Return the learner's newest row of metrics, empty before the first."""
        path = self.fleet.run.metrics
        lines = path.read_text().splitlines() if path.exists() else []
        row: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return row

    def come_on(self, env_steps: int = 2000) -> None:
        """Wait until the learner has inserted `env_steps` more."""
        until(lambda: "env_steps" in self.row(), "the first row")
        goal = self.row()["env_steps"] + env_steps
        until(lambda: self.row()["env_steps"] >= goal, f"{env_steps} more env steps")

    def memory_bytes(self) -> int:
        """Return the learner's memory, bytes, without the pages of the replay file."""
        info = psutil.Process(self.fleet.pid("learner")).memory_info()
        return int(info.rss - info.shared)

    def end(self) -> Audit:
        """Shut everything down in order; return the audit."""
        for index in range(4):
            self.fleet.signal(f"actor-{index}", 15)
        for index in range(4):
            assert self.fleet.wait(f"actor-{index}", 90) == 0, self.fleet.output(f"actor-{index}")
        self.fleet.signal("learner", 15)
        assert self.fleet.wait("learner") == 0, self.fleet.output("learner")
        return audit(self.fleet.run, CAPACITY, self.made, strangers=True)


@contextmanager
def half_open(ports: list[int], count: int) -> Iterator[list[socket.socket]]:
    """Hold connections that begin a handshake and never continue it."""
    with ExitStack() as held:
        connections = [
            held.enter_context(socket.create_connection(("127.0.0.1", ports[index % len(ports)]), timeout=10))
            for index in range(count)
        ]
        for index, connection in enumerate(connections):
            connection.sendall(GREETING[: index % len(GREETING)])
        yield connections


class Mallory:
    """A peer with a listed key that sends damaged frames, most with a correct checksum.

    Args:
        config: her keys, and where the learner listens.
        folder: for the environment that tells her what a transition looks like.
    """

    def __init__(self, config: TransportConfig, folder: Path) -> None:
        self._rng = random.Random(0)
        self._sender = ExperienceSender(config)
        self._sender.connect("127.0.0.1", config.experience_port)
        env = Environment(EnvConfig(env=ENV, env_args=(f"folder={folder}",)), ReturnConfig())
        writer = make_writer(env.spec, "mallory-1", SESSION)
        add_transition(writer, 1)
        add_transition(writer, 2)
        batch = writer.next_frame(0.0)
        assert batch is not None
        self._frames = [batch, writer.hello(), writer.bye()]

    def send(self, count: int) -> None:
        """Send `count` frames."""
        for _ in range(count):
            frame = self._mutant()
            while not self._sender.send(frame):
                assert self._sender.socket.poll(DEADLINE_S * 1000, zmq.POLLOUT), "stuck"

    def _mutant(self) -> bytes:
        rng = self._rng
        frame = bytearray(rng.choice(self._frames))
        for _ in range(rng.randint(1, 5)):
            at = rng.randrange(len(frame))
            frame[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        return seal(bytes(frame)) if len(frame) > 16 and rng.random() < 0.8 else bytes(frame)

    def close(self) -> None:
        self._sender.close(linger_s=5)
