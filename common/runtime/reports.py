"""Reports of a process to its launcher: lines in a pipe that the launcher has created.

Its log holds whatever foreign code prints, so nothing there can be taken for a word of ours. In: kinds and
texts. Out: the same, in order, on the other side. Without a launcher nothing happens.
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
"""Set by a launcher for its children: the descriptor to write to."""
STATUS, ERROR, RESULT, HINT = "status", "error", "result", "hint"
"""Kinds: the status that it is about to end with, why, its result as JSON, a flag that may help."""
MAX_REPORT_BYTES = 64 << 10
"""Of one process; what a pipe holds. What comes later is dropped."""


def report(kind: str, text: str) -> None:
    """Tell the launcher."""
    if _descriptor is not None:
        with suppress(OSError):  # it has ended, or does not read
            os.write(_descriptor, json.dumps([kind, text]).encode() + b"\n")


def say_error(line: str) -> None:
    """Say in a line why the process ends: on standard error, unless that lies on the disk that is full."""
    report(ERROR, line)
    with suppress(OSError):
        print(f"error: {line}", file=sys.stderr, flush=True)


def hint(flag: str, text: str) -> None:
    """Log what a flag would mend, and have it shown to whoever watches the run."""
    log.warning("%s", text)
    report(HINT, f"{flag} {text}")


class Reports:
    """The launcher's end of the pipe of one process, which is started within it as a context.

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
        """Leave the other end to the process; close both if it could not be started."""
        os.close(self.writer)
        if kind is not None:
            self.close()

    def close(self) -> None:
        """Read what is left, and no more: a process forked by foreign code may hold the other end."""
        if self._is_open:
            self._read()
            os.close(self._reader)
            self._is_open = False

    def of(self, kind: str) -> list[str]:
        """Return all texts of a kind that have arrived, oldest first."""
        if self._is_open:
            self._read()
        lines = [json.loads(line) for line in self._text.splitlines(keepends=True) if line.endswith(b"\n")]
        return [text for each, text in lines if each == kind]

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while len(self._text) < MAX_REPORT_BYTES and (more := os.read(self._reader, MAX_REPORT_BYTES)):
                self._text += more


def _take_descriptor() -> int | None:
    """Return the descriptor that a launcher has handed down, which processes started here do not get."""
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
