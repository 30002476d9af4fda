"""When a process should leave: SIGINT, SIGTERM, or the death of the process that started it."""

import os
import signal
from types import FrameType

PARENT_VARIABLE = "GRASPFLEET_PARENT_PID"
"""Set by a launcher for its children: they leave when they are orphaned."""


class StopSignal:
    """A flag that the loops look at; a second SIGINT leaves at once."""

    def __init__(self) -> None:
        parent = os.environ.get(PARENT_VARIABLE)
        self._parent_pid = int(parent) if parent else None
        self._stopped = False

    def install(self) -> "StopSignal":
        """Take over SIGINT and SIGTERM of this process."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)
        return self

    def is_set(self) -> bool:
        """Return whether to leave."""
        return self._stopped or (self._parent_pid is not None and os.getppid() != self._parent_pid)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._stopped and number == signal.SIGINT:
            os._exit(130)
        self._stopped = True
