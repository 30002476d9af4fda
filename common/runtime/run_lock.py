"""The lock of a run directory, which one process holds and a launcher shares with its learner."""

import errno
import fcntl
import os
from pathlib import Path

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.files import open_own

LOCK_VARIABLE = "GRASPFLEET_RUN_LOCK"
"""Environment variable that a launcher sets for its learner: the descriptor of the lock that they share."""


def take_lock(path: Path, name: str) -> tuple[int, bool]:
    """Lock a run directory, or use the lock that this process's launcher holds.

    Args:
        path: of the lock file.
        name: flag and value that named the directory.

    Returns:
        descriptor, to be closed by the caller; whether it belongs to the launcher.

    Raises:
        ConfigError: another process holds the lock, or the file system does not support locks.
        OSError: the file cannot be opened.
    """
    lent = _lent_lock(path)
    lock = open_own(path, os.O_RDWR | os.O_CREAT) if lent is None else lent
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if isinstance(error, BlockingIOError):
            raise ConfigError(
                f"{name}: in use by another learner or evaluation; allowed: one at a time"
            ) from None
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise ConfigError(
            f"{name}: this file system does not support locks ({error.strerror}); allowed: one that does"
        ) from None
    return lock, lent is not None


def _lent_lock(path: Path) -> int | None:
    """Return the descriptor inherited from a launcher; None if there is none or it is of another lock."""
    word = os.environ.pop(LOCK_VARIABLE, "")
    if not (word.isascii() and word.isdigit()):
        return None
    try:
        ours, there = os.fstat(int(word)), path.stat()
    except (OSError, OverflowError):
        return None
    if (ours.st_dev, ours.st_ino) != (there.st_dev, there.st_ino):
        return None
    os.set_inheritable(int(word), False)
    return int(word)
