"""Bounded reading of untrusted files, and atomic writing."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from graspfleet.common.errors import ConfigError

_TEMPORARY = re.compile(r"\.[A-Za-z0-9_-]+\.(yaml|json|jsonl|bin|pt|gfp|png)\.\d+")
"""Names of `write_atomically`'s temporary files: .NAME.PID."""


def read_limited(path: Path, at_most_bytes: int, *, private: bool = False) -> bytes:
    """Return the content of a regular file; allocate nothing if it is too large.

    Args:
        path: the file, or a link to it.
        at_most_bytes: largest allowed size.
        private: reject a file that other users of this machine can access.

    Raises:
        OSError: the file is unreadable, not regular (a pipe would block forever), too large, or not private;
            `strerror` has the reason.
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
    """Open a regular file for reading.

    Args:
        path: the file, or a link to it.

    Raises:
        OSError: the file is unreadable or not regular; `strerror` has the reason.
    """
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return file


def open_own(path: Path, flags: int, mode: int = 0o666) -> int:
    """Open a file that only this program writes, and return its descriptor.

    Args:
        path: the file. A symbolic link is not followed, because it may lead to another program's file.
        flags: of `os.open`.
        mode: permissions of a new file, less the umask.

    Raises:
        OSError: the file cannot be opened, or is a link, a pipe or a folder; `strerror` has the reason.
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
    """Replace a file's content; after a crash or on a full disk it is either the old or the new content.

    If the path is a symbolic link, the link is replaced, not its target.

    Args:
        path: the file.
        data: the complete new content.
        mode: permissions; default: those of the replaced file, or of the umask for a new one.

    Raises:
        OSError: the file cannot be written; the old one is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)  # left by a killed process with the same id; containers reuse ids
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
        OSError: a write failed; the file at `path` is unchanged.
    """
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)


def expand_home(path: str | Path) -> Path:
    """Return a path with a leading ``~`` replaced by the home directory.

    Raises:
        ConfigError: the home directory is unknown.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(
            f"{path}: the home directory of this user is unknown (HOME); allowed: a path without ~"
        ) from None


def is_temporary(name: str) -> bool:
    """Return whether this is the name of a temporary file of `write_atomically`."""
    return _TEMPORARY.fullmatch(name) is not None


def _mode_of(path: Path) -> int | None:
    """Return the permissions of a regular file; None if there is no such file."""
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
