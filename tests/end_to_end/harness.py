"""Starts the real processes of a run on free loopback ports, and ends every one of them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from graspfleet.common.net.control import ControlSubscriber
from graspfleet.common.runtime.run_directory import Endpoints, RunDirectory
from graspfleet.common.settings.transport import TransportConfig
from graspfleet.status import read_status

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
TINY = ("--env", "Pendulum-v1", "--hidden-dim", "32", "--batch-size", "32", "--replay-capacity", "50000")
FREE_PORTS = ("--experience-port", "0", "--weights-port", "0", "--control-port", "0")


def until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true value of `condition()`; fail when there is none in time."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_s} s: {what}")


def free_endpoints() -> Endpoints:
    """Return ports that were free a moment ago."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(3)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return Endpoints("127.0.0.1", *(each.getsockname()[1] for each in sockets))


def site(folder: Path) -> Path:
    """Return a folder on Python's path that holds the program as if it were installed, and these tests."""
    path = folder / "site"
    path.mkdir(exist_ok=True)
    for name in ("graspfleet", "tests"):
        if not (path / name).exists():
            (path / name).symlink_to(ROOT / name)
    return path


class Fleet:
    """The processes of one test."""

    def __init__(self, folder: Path) -> None:
        self.run = RunDirectory(folder / "run")
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.endpoints: Endpoints | None = None

    def start(self, name: str, *command: str, inside: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
        """Start `python -m command...`; `inside` goes before it, such as `ip netns exec NAME`."""
        output = (self._folder / f"{name}.txt").open("wb")
        environment = {**os.environ, "PYTHONPATH": str(site(self._folder))}
        process = subprocess.Popen(
            [*inside, sys.executable, "-m", *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=self._folder,
        )
        output.close()
        self._processes[name] = process
        return process

    def output(self, name: str) -> str:
        return (self._folder / f"{name}.txt").read_text()

    def start_learner(self, *flags: str, ports: tuple[str, ...] = FREE_PORTS) -> None:
        self.start("learner", "graspfleet.learner", *TINY, *ports, "--run-dir", str(self.run.path), *flags)
        until(self.run.endpoints.exists, "the learner listens")
        self.endpoints = self.run.read_endpoints()

    def start_actor(self, name: str, *flags: str) -> "subprocess.Popen[bytes]":
        assert self.endpoints is not None
        return self.start(
            name, "graspfleet.actor", "--env", "Pendulum-v1", "--actor-id", name, *self.addresses(), *flags
        )

    def addresses(self) -> list[str]:
        assert self.endpoints is not None
        names = ("experience", "weights", "control")
        return [
            word
            for name in names
            for word in (f"--{name}-port", str(getattr(self.endpoints, f"{name}_port")))
        ]

    def transport(self) -> TransportConfig:
        assert self.endpoints is not None
        ports = vars(self.endpoints)
        return TransportConfig(**{name: port for name, port in ports.items() if name != "host"})

    def wait(self, name: str, deadline_s: float = DEADLINE_S) -> int:
        try:
            return self._processes[name].wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{name} goes on:\n{self.output(name)}") from None

    def pid(self, name: str) -> int:
        return self._processes[name].pid

    def signal(self, name: str, number: int) -> None:
        self._processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        self._processes[name].kill()
        self._processes[name].wait()

    def statuses(self) -> "StatusListener":
        return StatusListener(self.transport())

    def end(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                process.kill()
                process.wait()


class StatusListener:
    """Hears the learner's status."""

    def __init__(self, config: TransportConfig) -> None:
        self._control = ControlSubscriber(config)
        self._control.connect("127.0.0.1", config.control_port)

    def until(self, condition: Callable[[Any], Any], what: str) -> Any:
        """Return the first status that fulfils `condition`."""

        def fulfilled() -> Any:
            self._control.wait(0.1)
            status = read_status(self._control)
            return status if status is not None and condition(status) else None

        return until(fulfilled, what)

    def close(self) -> None:
        self._control.close()
