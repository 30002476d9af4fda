"""Child processes of a launcher: started with a log file each, ended without leaving orphans."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from common.errors import StorageError
from common.runtime.files import open_own
from common.runtime.run_directory import LOCK_VARIABLE, RunDirectory
from common.runtime.signals import PARENT_VARIABLE

POLL_S = 0.02
MAX_LOG_BYTES = 8 << 20
"""A log file that grows beyond this loses its older half."""
LAST_BYTES = 64 << 10
"""Of a log, what is looked at for a process's last words."""


class Child:
    """One process of the run.

    It runs in a process group of its own, so that Ctrl-C reaches the launcher alone, which ends its
    children in the right order.

    Args:
        name: of the process; its output goes to `NAME.log`.
        command: what to run: a module and its arguments.
        logs: folder of the log files.
        shares: the run directory whose claim the child shares with this process; None for none.

    Raises:
        StorageError: it cannot be started, or has no log file.
    """

    def __init__(
        self, name: str, command: Sequence[str], logs: Path, shares: RunDirectory | None = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.log = logs / f"{name}.log"
        self.started_s = time.monotonic()
        try:
            with open(open_own(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as output:
                self._begin = output.tell()
                self._process = _start(self.command, output, shares)
        except OSError as error:
            raise StorageError(f"{self.log}: {error.strerror}; {name} cannot be started") from None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to leave."""
        if self.status is None:
            self._process.terminate()

    def kill(self) -> None:
        """End it now."""
        if self.status is None:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        """Return the error that it ended with, without its mark; else the last line it wrote."""
        lines = self._last_lines()
        errors = [line for line in lines if line.startswith("error: ")]
        return errors[-1].removeprefix("error: ") if errors else lines[-1] if lines else "it said nothing"

    def has_said_why(self) -> bool:
        """Return whether it ended with a line about what is wrong, and not by a signal or a bug."""
        return (self.status or 0) > 0 and (self._last_lines() or [""])[-1].startswith("error: ")

    def result(self) -> str:
        """Return the last line that begins like a JSON object, for warnings may follow it."""
        lines = self._last_lines()
        return next((line for line in reversed(lines) if line.startswith("{")), lines[-1] if lines else "")

    def reason(self) -> str:
        """Return why it ended, in a line."""
        how = (
            f"signal {-self.status}"
            if self.status is not None and self.status < 0
            else f"status {self.status}"
        )
        return f"{self.name} ended with {how}: {self.last_words()} ({self.log})"

    def trim_log(self) -> None:
        """Cut off the older half of a log file that has grown too large; the child appends to the rest."""
        with contextlib.suppress(OSError), open(open_own(self.log, os.O_RDWR | os.O_APPEND), "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            if size <= MAX_LOG_BYTES:
                return
            file.seek(size - MAX_LOG_BYTES // 2)
            kept = file.read(MAX_LOG_BYTES // 2).partition(b"\n")[2]
            file.truncate(0)
            file.write(f"[{size - len(kept):,} bytes were cut off here]\n".encode() + kept)
            self._begin = 0

    def _last_lines(self) -> list[str]:
        """Return what it wrote last, without empty lines; nothing of processes before it."""
        try:
            with open(open_own(self.log, os.O_RDONLY), "rb") as file:
                file.seek(max(self._begin, file.seek(0, os.SEEK_END) - LAST_BYTES))
                lines = file.read(LAST_BYTES).decode(errors="replace").splitlines()
        except OSError:
            return []
        return [line.strip() for line in lines if line.strip()]


def _start(command: list[str], output: IO[bytes], shares: RunDirectory | None) -> "subprocess.Popen[bytes]":
    # One BLAS thread: more of them would fight the other processes for the cores.
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    lock = {} if shares is None else {LOCK_VARIABLE: str(shares.lock)}
    return subprocess.Popen(
        # -P: a `common.py` in the working directory is the user's, and not imported in place of ours.
        [sys.executable, "-P", "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=[] if shares is None else [shares.lock],
        env={**threads, **os.environ, **lock, PARENT_VARIABLE: str(os.getpid())},
    )


def end(children: Iterable[Child], timeout_s: float) -> None:
    """Ask children to leave, wait for them, and kill those that are still there after `timeout_s`."""
    children = list(children)
    for child in children:
        child.terminate()
    deadline_s = time.monotonic() + timeout_s
    while any(child.status is None for child in children) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    for child in children:
        child.kill()
