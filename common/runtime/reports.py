"""Reports from a process to its launcher, as lines in a pipe that the launcher created.

The process's log cannot serve for this, because third-party code prints there too. In: kinds and texts. Out:
the same, in order, at the launcher. Without a launcher, reports are ignored.
"""

import json
import logging
import os
import stat
import sys
from contextlib import suppress
from types import TracebackType
from typing import Self

log = logging.getLogger(__name__)

REPORT_VARIABLE = "GRASPFLEET_REPORT"
"""Environment variable that a launcher sets for its children: the descriptor to write to."""
STATUS, ERROR, RESULT, HINT = "status", "error", "result", "hint"
"""Kinds: imminent exit status, reason of an error, result as JSON, a flag that may help."""
MAX_REPORT_BYTES = 64 << 10
"""Limit of all reports of one process, bytes: the size of a pipe; later reports are dropped."""


def report(kind: str, text: str) -> None:
    """Send a report to the launcher, if there is one."""
    if _descriptor is not None:
        with suppress(OSError):  # the launcher has ended or does not read
            os.write(_descriptor, json.dumps([kind, text]).encode() + b"\n")


def say_error(line: str) -> None:
    """Print one line on standard error and report it; standard error itself may be on a full disk."""
    report(ERROR, line)
    with suppress(OSError):
        print(f"error: {line}", file=sys.stderr, flush=True)


def hint(flag: str, text: str) -> None:
    """Log a hint to use a flag, and report it to the launcher, which shows it."""
    log.warning("%s", text)
    report(HINT, f"{flag} {text}")


class Reports:
    """The launcher's end of the pipe of one process; the process is started in the body of its `with`.

    Attributes:
        writer: descriptor for the process.
    """

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._is_open = True
        self._text = b""

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the launcher's copy of the writer, and after an error the reader too."""
        os.close(self.writer)
        if kind is not None:
            self.close()

    def close(self) -> None:
        """Read the remaining reports without waiting for the end of the file, then close.

        A process forked by third-party code may keep the other end open.
        """
        if self._is_open:
            self._read()
            os.close(self._reader)
            self._is_open = False

    def of(self, kind: str) -> list[str]:
        """Return all texts of a kind received so far, oldest first."""
        if self._is_open:
            self._read()
        lines = [json.loads(line) for line in self._text.splitlines(keepends=True) if line.endswith(b"\n")]
        return [text for each, text in lines if each == kind]

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while len(self._text) < MAX_REPORT_BYTES and (more := os.read(self._reader, MAX_REPORT_BYTES)):
                self._text += more


def _take_descriptor() -> int | None:
    """Return the descriptor inherited from a launcher, and keep it from processes started here."""
    word = os.environ.pop(REPORT_VARIABLE, "")
    if not (word.isascii() and word.isdigit()):
        return None
    try:
        if not stat.S_ISFIFO(os.fstat(int(word)).st_mode):
            return None
        os.set_inheritable(int(word), False)
    except (OSError, OverflowError):
        return None
    return int(word)


_descriptor = _take_descriptor()
