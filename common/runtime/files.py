"""Reading files that may be damaged, endless or links, and writing files that no crash can tear."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from common.errors import ConfigError

_TEMPORARY = re.compile(r"\.[A-Za-z0-9_-]+\.(yaml|json|jsonl|bin|pt|gfp|png)\.\d+")
"""How `write_atomically` names a run's file that is not whole yet: .NAME.PID."""


def read_limited(path: Path, at_most_bytes: int, *, private: bool = False) -> bytes:
    """Return the content of a regular file; takes no memory for one that is too large.

    Args:
        path: the file, or a link to it.
        at_most_bytes: largest size that makes sense.
        private: refuse a file that other users of this machine could read or replace.

    Raises:
        OSError: it cannot be read, is no regular file (a pipe would block for ever), is too large, or is
            not private; `strerror` says which.
    """
    with open_regular(path) as file:
        found = os.fstat(file.fileno())
        if private and found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise OSError(errno.EACCES, f"mode {mode:04o}, readable by others; allowed: 0600", str(path))
        if found.st_size > at_most_bytes:
            raise OSError(errno.EFBIG, f"larger than {at_most_bytes:,} bytes", str(path))
        return file.read(found.st_size)


def open_regular(path: Path) -> BinaryIO:
    """Return a file opened for reading.

    Args:
        path: the file, or a link to it.

    Raises:
        OSError: it cannot be read, or is no regular file; `strerror` says which.
    """
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def open_own(path: Path, flags: int, mode: int = 0o666) -> int:
    """Return a descriptor of a file that only this program writes.

    Args:
        path: the file; a symbolic link there is not followed, for it may lead to somebody else's.
        flags: of `os.open`.
        mode: permissions of a new file, less the umask.

    Raises:
        OSError: it cannot be opened, or is a link, a pipe or a folder; `strerror` says which.
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "a symbolic link, which is not followed", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def write_atomically(path: Path, data: bytes, mode: int | None = None) -> None:
    """Replace a file by `data` in one step that a crash or a full disk cannot leave half done.

    A symbolic link of that name is replaced itself; what it points to is not touched.

    Args:
        path: the file.
        data: all of its new content.
        mode: permissions; default: those of the file replaced, for a new one those of the umask.

    Raises:
        OSError: it cannot be written; the old file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # of a killed process with this number; containers use few numbers
    kept = _mode_of(path) if mode is None else mode
    descriptor = open_own(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666 if kept is None else 0o600)
    try:
        with open(descriptor, "wb") as file:
            if kept is not None:
                os.fchmod(descriptor, kept)
            file.write(data)
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Sync a complete file to the disk and rename it to `path` in one step.

    Args:
        temporary: the file, in the same folder as `path`.
        path: its final name; a file of that name is replaced.

    Raises:
        OSError: the disk refuses; the file at `path` is unchanged.
    """
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def expand_home(path: str | Path) -> Path:
    """Return a path in which a leading ``~`` is a home directory.

    Raises:
        ConfigError: it is not known which one.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{path}: the home directory of this user is not known (HOME); allowed: a path without ~"
        ) from None


def is_temporary(name: str) -> bool:
    """Return whether a file of this name is one that `write_atomically` has not finished."""
    return _TEMPORARY.fullmatch(name) is not None


def _mode_of(path: Path) -> int | None:
    """Return the permissions of a regular file; None when there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return stat.S_IMODE(found.st_mode) if stat.S_ISREG(found.st_mode) else None


def _sync(path: Path) -> None:
    """Flush a file, or the renames in a folder, from the page cache to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
