"""Requests to stop: SIGINT, SIGTERM, or the death of the parent process."""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

PARENT_VARIABLE = "GRASPFLEET_PARENT_PID"
"""Environment variable that a launcher sets for its children: they exit when this parent is gone."""
EXIT_S = 5.0
"""Seconds that third-party threads and exit handlers have at the end of a process."""


class StopSignal:
    """A stop flag that the loops check; a second SIGINT ends the process at once.

    Attributes:
        is_installed: whether this process's handlers are installed.
    """

    def __init__(self) -> None:
        parent = os.environ.get(PARENT_VARIABLE)
        self._parent_pid = int(parent) if parent else None
        self._stopped = False
        self.is_installed = False

    def install(self) -> "StopSignal":
        """Install handlers for SIGINT and SIGTERM."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)
        self.is_installed = True
        return self

    def retake(self) -> None:
        """Reinstall the handlers, which third-party code may have replaced."""
        if self.is_installed:
            self.install()

    def is_set(self) -> bool:
        """Return whether to stop."""
        return self._stopped or (self._parent_pid is not None and os.getppid() != self._parent_pid)

    def note(self, number: int) -> None:
        """Note a signal; only SIGINT and SIGTERM have an effect."""
        if number in (signal.SIGINT, signal.SIGTERM):
            if self._stopped and number == signal.SIGINT:
                os._exit(130)
            self._stopped = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.note(number)


def exit_within_bound(status: int) -> None:
    """Let the interpreter shut down; end the process with `status` if that takes longer than `EXIT_S`."""

    def watch() -> None:
        threading.main_thread().join()
        time.sleep(EXIT_S)
        os._exit(status)

    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    gc.freeze()  # at exit the garbage collector would search torch's memory for cycles for a second
    threading.Thread(target=watch, name="exit", daemon=True).start()


def forget_in_children(forget: Callable[[], None], *signals: int) -> None:
    """Call `forget`, which restores default handlers, in every process that is forked from now on.

    Until then the signals are blocked in the child: one that arrives earlier would be taken by the copy of
    this process's handler, and lost.
    """
    masks = threading.local()

    def hold() -> None:
        masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.before)

    def forget_and_release() -> None:
        forget()
        release()

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=forget_and_release)


def _forget() -> None:
    """Restore the default signal handlers in a forked process, which its parent ends with signals."""
    for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        if isinstance(getattr(signal.getsignal(number), "__self__", None), StopSignal):
            signal.signal(number, default)


forget_in_children(_forget, signal.SIGINT, signal.SIGTERM)
