"""Where everything of one training run lies, and whether a run may start there."""

import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from common.config import RunConfig
from common.errors import ConfigError
from common.files import read_limited

_BEFORE_IT_BEGINS = {"config.yaml", "endpoints.json", "logs", "lock"}
"""What a run leaves behind that failed before it met an actor; it may be started again in the same place."""
_WHILE_IT_BEGINS = {"replay.bin", "journal.bin", "metrics.jsonl", "tensorboard", "checkpoints"}
"""What there may be besides until the first checkpoint; nothing was acknowledged before it."""

MAX_ENDPOINTS_BYTES = 4096
"""A larger file does not say where a learner listens."""


@dataclass(frozen=True)
class Endpoints:
    """Where a learner listens."""

    host: str
    experience_port: int
    weights_port: int
    control_port: int

    @property
    def local_host(self) -> str:
        """Address at which processes on the learner's own machine reach it."""
        return {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104


class RunDirectory:
    """Names of a run's files.

    Args:
        path: the directory; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.endpoints = self.path / "endpoints.json"
        self.metrics = self.path / "metrics.jsonl"
        self.evaluation = self.path / "evaluation.json"
        self.selection = self.path / "selection.json"
        self.candidates = self.path / "candidates"
        self.curve = self.path / "curve.png"
        self.replay = self.path / "replay.bin"
        self.journal = self.path / "journal.bin"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.tensorboard = self.path / "tensorboard"
        self._lock: int | None = None

    def policy(self, which: str) -> Path:
        """Return the file of the `best` or the `last` policy: one `Weights` frame."""
        return self.path / f"policy-{which}.gfp"

    def has_begun(self) -> bool:
        """Return whether a run has begun here: a checkpoint comes before the first acknowledgement."""
        return any(self.checkpoints.glob("*.pt"))

    def create(self, *, resume: bool, unbegun: bool = False) -> None:
        """Make the directory ready for a learner to start or to go on in.

        Args:
            resume: there must be a run to go on with.
            unbegun: take a directory too whose learner was killed before its first checkpoint.

        Raises:
            ConfigError: it holds another run, or none to resume, or cannot be written.
        """
        if resume and not self.checkpoints.is_dir():
            raise ConfigError(
                f"--resume {self.path}: no run with a checkpoint there; allowed: a run directory"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            found = {entry.name for entry in self.path.iterdir()} - _BEFORE_IT_BEGINS
            if unbegun and not self.has_begun():
                found -= _WHILE_IT_BEGINS
            if resume or not found:
                self.logs.mkdir(exist_ok=True)
                (self.path / "lock").touch()
        except OSError as error:
            name = "--resume" if resume else "--run-dir"
            raise ConfigError(
                f"{name} {self.path}: {error.strerror}; allowed: a folder that can be written"
            ) from None
        if not resume and found:
            raise ConfigError(
                f"--run-dir {self.path}: not empty; allowed: a new folder,"
                f" or --resume {self.path} to go on with it"
            )

    def clear(self) -> None:
        """Remove what a learner left that was killed before its first checkpoint; call with the lock held."""
        for name in _WHILE_IT_BEGINS & {entry.name for entry in self.path.iterdir()}:
            path = self.path / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def lock(self) -> None:
        """Claim the directory for this process until it ends.

        Raises:
            ConfigError: another process has claimed it.
        """
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"--run-dir {self.path}: in use by another learner; allowed: one at a time"
            ) from None

    def unlock(self) -> None:
        """Give the claim back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_endpoints(self, endpoints: Endpoints) -> None:
        """Write down where the learner listens."""
        write_atomically(self.endpoints, json.dumps(vars(endpoints)).encode())

    def read_endpoints(self) -> Endpoints:
        """Return where the learner listens.

        Raises:
            ConfigError: no learner has written it down here.
        """
        try:
            endpoints = Endpoints(**json.loads(read_limited(self.endpoints, MAX_ENDPOINTS_BYTES)))
            ports = (endpoints.experience_port, endpoints.weights_port, endpoints.control_port)
            if not (isinstance(endpoints.host, str) and all(type(port) is int for port in ports)):
                raise TypeError
            return endpoints
        except (OSError, ValueError, TypeError, RecursionError):
            raise ConfigError(f"{self.path}: no learner has run here; allowed: a run directory") from None


def claim_run(config: RunConfig, env: str) -> RunDirectory:
    """Return the run directory that the flags name, made and locked by this process.

    Args:
        config: `--run-dir` or `--resume`.
        env: Gymnasium id, part of the default name.

    Raises:
        ConfigError: it holds another run or none to resume, is in use, or cannot be written.
    """
    default = Path("runs") / f"{env.replace(':', '-')}-{datetime.now():%Y%m%d-%H%M%S}"
    run = RunDirectory(config.resume or config.run_dir or default)
    run.create(resume=config.resume is not None, unbegun=config.auto_resume)
    run.lock()
    if config.auto_resume and not run.has_begun():
        run.clear()
    return run


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by `data` in one step that a crash or a full disk cannot leave half done."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring a renaming to the disk, which a power cut could undo otherwise."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
