"""The directory of a training run: its files, and the claim of one process on them."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from graspfleet.common.errors import ConfigError, StorageError
from graspfleet.common.runtime.files import is_temporary, read_limited, write_atomically
from graspfleet.common.runtime.run_lock import take_lock

_BEFORE_IT_BEGINS = {"config.yaml", "endpoints.json", "logs", "lock"}
"""Files of a run that failed before its first actor; the directory can be reused."""
_WHILE_IT_BEGINS = {"replay.bin", "frames.bin", "journal.bin", "metrics.jsonl", "tensorboard", "checkpoints"}
"""Further files that may exist before the first checkpoint; nothing is acknowledged before it."""
_WITH_TEMPORARIES = (".", "candidates", "checkpoints", "logs")
"""Folders of a run in which files are replaced atomically."""

MAX_ENDPOINTS_BYTES = 4096
"""Largest `endpoints.json`, bytes."""


@dataclass(frozen=True)
class Endpoints:
    """Addresses of a learner's sockets."""

    host: str
    experience_port: int
    weights_port: int
    control_port: int

    @property
    def local_host(self) -> str:
        """Address of the learner for processes on its own machine."""
        return {"0.0.0.0": "127.0.0.1", "*": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104


class RunDirectory:
    """Paths of a run's files, and the claim of one process on them.

    Args:
        path: the directory, which need not exist yet.
        made: folders created for it, including itself, innermost first.

    Attributes:
        is_lent: whether the claim belongs to this process's launcher, which also stores the settings.
    """

    def __init__(self, path: str | Path, made: Iterable[Path] = ()) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.endpoints = self.path / "endpoints.json"
        self.metrics = self.path / "metrics.jsonl"
        self.evaluation = self.path / "evaluation.json"
        self.selection = self.path / "selection.json"
        self.candidates = self.path / "candidates"
        self.curve = self.path / "curve.png"
        self.replay = self.path / "replay.bin"
        self.frames = self.path / "frames.bin"
        self.journal = self.path / "journal.bin"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.tensorboard = self.path / "tensorboard"
        self.is_lent = False
        self._lock: int | None = None
        self._made = list(made)

    def policy(self, which: str) -> Path:
        """Return the file of the `best` or the `last` policy: one `Weights` frame."""
        return self.path / f"policy-{which}.gfp"

    def has_begun(self) -> bool:
        """Return whether a run has begun here, that is, whether it has a checkpoint.

        The first checkpoint precedes the first acknowledgement.
        """
        return any(self.checkpoints.glob("*.pt"))

    def claim(self, *, resume: bool, unbegun: bool = False) -> None:
        """Claim the directory for this process until it ends; nothing else is written before that.

        Args:
            resume: require a run to resume.
            unbegun: also accept a directory whose learner was killed before its first checkpoint.

        Raises:
            ConfigError: the directory is in use, holds another run or none to resume, or cannot be written
                or locked.
        """
        name = f"{'--resume' if resume else '--run-dir'} {self.path}"
        try:
            if (self.path / "lock").exists():
                self._take_lock(name)
            self._require(name, resume=resume, unbegun=unbegun)
            if self._lock is None:
                self._make_folders()
                self._take_lock(name)
                self._require(name, resume=resume, unbegun=unbegun)  # recheck under the lock
            self._sweep(begins=unbegun and not self.has_begun())
            self.logs.mkdir(exist_ok=True)
            self._refuse_files(name)
        except OSError as error:
            self.release()
            where = "" if error.filename in (None, str(self.path)) else f"{error.filename}: "
            raise ConfigError(f"{name}: {where}{error.strerror}; allowed: a writable folder") from None
        except ConfigError:
            self.release()
            raise

    def release(self) -> None:
        """Release the claim."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Remove the files of a start in which no run began, so that the next start can use the directory.

        Folders that existed before are kept, and so is a run that has begun.
        """
        if self._lock is None or self.is_lent or self.has_begun():
            return
        with contextlib.suppress(OSError):  # best effort: the original error is what the user needs to see
            if self.path in self._made:
                shutil.rmtree(self.path)
            else:
                self._sweep(begins=True)
            for folder in self._made[1:]:
                folder.rmdir()  # fails if another process has put something there
        self.release()

    def _make_folders(self) -> None:
        """Create the directory and its missing parents, and remember which ones were created."""
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        self._made += missing

    @property
    def lock(self) -> int:
        """Descriptor of the lock; a child that inherits it shares the claim."""
        assert self._lock is not None
        return self._lock

    def write_endpoints(self, endpoints: Endpoints) -> None:
        """Store the addresses of the learner's sockets.

        Raises:
            StorageError: they cannot be written.
        """
        try:
            write_atomically(self.endpoints, json.dumps(vars(endpoints)).encode())
        except OSError as error:
            raise StorageError(f"{self.endpoints}: {error.strerror}") from None

    def read_endpoints(self) -> Endpoints:
        """Return the addresses of the learner's sockets.

        Raises:
            ConfigError: no learner has stored them here.
        """
        try:
            endpoints = Endpoints(**json.loads(read_limited(self.endpoints, MAX_ENDPOINTS_BYTES)))
            ports = (endpoints.experience_port, endpoints.weights_port, endpoints.control_port)
            if not (isinstance(endpoints.host, str) and all(type(port) is int for port in ports)):
                raise TypeError
            return endpoints
        except (OSError, ValueError, TypeError, RecursionError):
            raise ConfigError(f"{self.path}: no learner has run here; allowed: a run directory") from None

    def _require(self, name: str, *, resume: bool, unbegun: bool) -> None:
        """Raise ConfigError unless a run may start in the directory; changes nothing."""
        begun = self.has_begun()
        if resume:
            if not begun:
                raise ConfigError(f"{name}: no run with a checkpoint there; allowed: a run directory")
            return
        found = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        found = {entry for entry in found - _BEFORE_IT_BEGINS if not is_temporary(entry)}
        if not found or (unbegun and not begun and found <= _WHILE_IT_BEGINS):
            return
        again = "--resume {} to continue it" if begun else "--run-dir {} --auto-resume to start it over"
        allowed = f", or {again.format(self.path)}" if begun or found <= _WHILE_IT_BEGINS else ""
        raise ConfigError(f"{name}: not empty; allowed: a new folder{allowed}")

    def _take_lock(self, name: str) -> None:
        self._lock, self.is_lent = take_lock(self.path / "lock", name)

    def _refuse_files(self, name: str) -> None:
        """Check that the directory is writable and that the files to append to are regular files.

        Raises:
            ConfigError: it is not writable, or one of the files is a link or not a regular file.
        """
        for folder in (self.path, self.logs, self.checkpoints, self.candidates):
            if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
                raise ConfigError(f"{name}: {folder}: cannot be written; allowed: a writable folder")
        for path in (self.replay, self.frames, self.journal, self.metrics, *self.logs.glob("*.log")):
            if path.is_symlink():
                fault = "a symbolic link, which is not followed"
            elif path.exists() and not path.is_file():
                fault = "not a regular file"
            elif path.exists() and not os.access(path, os.W_OK):
                fault = "cannot be written"
            else:
                continue
            raise ConfigError(f"{name}: {path}: {fault}; allowed: a writable regular file")

    def _sweep(self, *, begins: bool) -> None:
        """Remove temporary files of interrupted writes and, if the run `begins`, unacknowledged data."""
        leftovers = [self.path / name for name in _WHILE_IT_BEGINS] if begins else []
        for folder in _WITH_TEMPORARIES:
            leftovers += [path for path in (self.path / folder).glob(".*") if is_temporary(path.name)]
        for path in leftovers:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
