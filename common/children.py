"""Child processes of a launcher: started with a log file each, ended without leaving orphans."""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from common.stopping import PARENT_VARIABLE

POLL_S = 0.02


class Child:
    """One process of the run.

    It runs in a process group of its own, so that Ctrl-C reaches the launcher alone, which ends its
    children in the right order.

    Args:
        name: of the process; its output goes to `NAME.log`.
        command: what to run: a module and its arguments.
        logs: folder of the log files.
    """

    def __init__(self, name: str, command: Sequence[str], logs: Path) -> None:
        self.name = name
        self.command = list(command)
        self.log = logs / f"{name}.log"
        # One BLAS thread: more of them would fight the other processes for the cores.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                # -P: a `common.py` in the working directory is the user's, and not imported in place of ours.
                [sys.executable, "-P", "-m", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**threads, **os.environ, PARENT_VARIABLE: str(os.getpid())},
            )

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
        """Return the last line it wrote, without the mark of an error."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("error: ") if lines else "it said nothing"

    def reason(self) -> str:
        """Return why it ended, in a line."""
        how = (
            f"signal {-self.status}"
            if self.status is not None and self.status < 0
            else f"status {self.status}"
        )
        return f"{self.name} ended with {how}: {self.last_words()} ({self.log})"


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
