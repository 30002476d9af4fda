"""Child processes of a launcher: each has its own log file, and none is left orphaned."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from graspfleet.common.errors import StorageError
from graspfleet.common.runtime.files import open_own
from graspfleet.common.runtime.reports import ERROR, HINT, REPORT_VARIABLE, RESULT, STATUS, Reports
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.runtime.run_lock import LOCK_VARIABLE
from graspfleet.common.runtime.signals import PARENT_VARIABLE

POLL_S = 0.02
MAX_LOG_BYTES = 8 << 20
"""Size above which a log file loses its older half."""
LAST_BYTES = 64 << 10
"""Bytes at the end of a log that are searched for a traceback."""
BUG_STATUS = 1
"""Python's exit status after an uncaught exception."""


class Child:
    """One process of the run.

    It runs in its own process group, so that Ctrl-C reaches only the launcher, which ends its children in
    the right order.

    Args:
        name: of the process; its output goes to `NAME.log`.
        command: a module and its arguments.
        logs: folder of the log files.
        shares: the run directory whose claim the child shares with this process; None for none.

    Raises:
        StorageError: the process cannot be started, or its log file cannot be opened.
    """

    def __init__(
        self, name: str, command: Sequence[str], logs: Path, shares: RunDirectory | None = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = logs / f"{name}.log"
        self.started_s = time.monotonic()
        try:
            with (
                open(open_own(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as output,
                Reports() as self._reports,
            ):
                self._begin = output.tell()
                self._process = _start(self.command, output, self._reports.writer, shares)
        except OSError as error:
            raise StorageError(f"{self.log}: {error.strerror}; {name} cannot be started") from None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs.

        The status that the process reported takes precedence, because third-party exit handlers may change
        the actual one.
        """
        ended = self._process.poll()
        if ended is None:
            return None
        self._reports.close()
        said = self._reports.of(STATUS)
        return int(said[-1]) if said else ended

    @property
    def has_left(self) -> bool:
        """True if it finished its work and exited; `os._exit(0)` in third-party code does not count."""
        return self.status == 0 and bool(self._reports.of(STATUS))

    @property
    def error(self) -> str | None:
        """The error line that it reported before it exited; None after a signal, a bug or a normal exit."""
        said = self._reports.of(ERROR)
        return said[-1] if self.status and said else None

    @property
    def result(self) -> str | None:
        """Result of the process as JSON; None if it reported none."""
        said = self._reports.of(RESULT)
        return said[-1] if said else None

    @property
    def hints(self) -> list[str]:
        """Hints for the user, each a flag, a space and a sentence."""
        return self._reports.of(HINT)

    def terminate(self) -> None:
        """Ask it to exit (SIGTERM)."""
        if self.status is None:
            self._process.terminate()

    def kill(self) -> None:
        """Kill it and wait for it to end."""
        if self.status is None:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        """Return the error line that it reported, or the exception of its traceback; "" without either."""
        if self.error is not None:
            return self.error
        return _end_of_traceback(self._last_lines()) if self._process.returncode == BUG_STATUS else ""

    def reason(self) -> str:
        """Return the reason why it ended, as one line."""
        words = self.last_words()
        return f"{self.name} {_ending(self._process.returncode)}{words and ': '}{words} ({self.log})"

    def trim_log(self) -> None:
        """Remove the older half of a log file that is too large; the child continues to append."""
        with contextlib.suppress(OSError), open(open_own(self.log, os.O_RDWR | os.O_APPEND), "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= MAX_LOG_BYTES:
                return
            file.seek(size - MAX_LOG_BYTES // 2)
            kept = file.read(MAX_LOG_BYTES // 2).partition(b"\n")[2]
            file.truncate(0)
            file.write(f"[{size - len(kept):,} bytes were removed here]\n".encode() + kept)
            self._begin = 0

    def _last_lines(self) -> list[str]:
        """Return the last lines that this process wrote, without those of earlier processes of its name."""
        try:
            with open(open_own(self.log, os.O_RDONLY), "rb") as file:
                file.seek(max(self._begin, file.seek(0, os.SEEK_END) - LAST_BYTES))
                return file.read(LAST_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return []


def _end_of_traceback(lines: list[str]) -> str:
    """Return the exception at the end of the last traceback; "" without a traceback."""
    begins = [index for index, line in enumerate(lines) if line.startswith("Traceback (most recent call")]
    after = lines[begins[-1] + 1 :] if begins else []
    return next((line for line in after if line[:1].strip()), "")


def _ending(status: int) -> str:
    """Return a description of an exit status."""
    if status == -signal.SIGKILL:
        return "ended by SIGKILL (sent by another process, or out of memory)"
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"


def _start(
    command: list[str], output: IO[bytes], reports: int, shares: RunDirectory | None
) -> "subprocess.Popen[bytes]":
    # One BLAS thread: more would compete with the other processes for the cores.
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    lock = {} if shares is None else {LOCK_VARIABLE: str(shares.lock)}
    ours = {PARENT_VARIABLE: str(os.getpid()), REPORT_VARIABLE: str(reports)}
    return subprocess.Popen(
        # -P: do not import the user's modules from the working directory in place of ours.
        [sys.executable, "-P", "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=[reports] if shares is None else [reports, shares.lock],
        env={**threads, **os.environ, **lock, **ours},
    )


def end(children: Iterable[Child], timeout_s: float) -> None:
    """Ask children to exit, wait up to `timeout_s` for them, and kill those that still run."""
    children = list(children)
    for child in children:
        child.terminate()
    deadline_s = time.monotonic() + timeout_s
    while any(child.status is None for child in children) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    for child in children:
        child.kill()
