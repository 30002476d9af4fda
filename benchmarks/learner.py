"""A real learner process for the rows that need one, and what its metrics say."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graspfleet.children import Child, end
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.transport import TransportConfig

DEADLINE_S = 60.0
ANY_PORT = ("--experience-port", "0", "--weights-port", "0", "--control-port", "0")
FOR_EVER = ("--total-env-steps", "1000000000", "--updates-per-step", "None")


class LearnerProcess:
    """`python -m graspfleet.learner` on free loopback ports, free-running, without an end of its own.

    Args:
        folder: of the run directory.
        flags: more of the learner's flags.
    """

    def __init__(self, folder: Path, *flags: str) -> None:
        self.run = RunDirectory(folder / "run")
        self.run.logs.mkdir(parents=True)
        command = ["graspfleet.learner", "--run-dir", str(self.run.path), *ANY_PORT, *FOR_EVER, *flags]
        self._child = Child("learner", command, self.run.logs)
        self.pid = self._child.pid
        self.until(self.run.endpoints.exists)
        endpoints = vars(self.run.read_endpoints())
        self.ports: dict[str, int] = {name: port for name, port in endpoints.items() if name != "host"}

    @property
    def transport(self) -> TransportConfig:
        """Addresses of its sockets."""
        return TransportConfig(**self.ports)

    def newest_row(self) -> dict[str, Any]:
        """Return the newest row of metrics, empty before the first."""
        lines = self.run.metrics.read_text().splitlines() if self.run.metrics.exists() else []
        row: dict[str, Any] = json.loads(lines[-1]) if lines else {}
        return row

    def per_second(self, counter: str, meanwhile: Callable[[], object]) -> float:
        """Return how much a counter grows a second, between the rows before and after `meanwhile`."""
        before = self.newest_row()
        meanwhile()
        after = self.newest_row()
        return float((after[counter] - before[counter]) / (after["wall_s"] - before["wall_s"]))

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something of this learner.

        Raises:
            RuntimeError: it did not come in time, or the learner ended.
        """
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            if self._child.status is not None or time.monotonic() > deadline_s:
                raise RuntimeError(self._child.reason())
            time.sleep(0.02)

    def close(self) -> None:
        """End it."""
        end([self._child], DEADLINE_S)
