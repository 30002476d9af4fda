"""Reading files that may be damaged, endless or of another kind than their name says."""

import errno
import os
import stat
from pathlib import Path


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
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if private and found.st_mode & 0o077:
            mode = stat.S_IMODE(found.st_mode)
            raise OSError(errno.EACCES, f"mode {mode:04o}, readable by others; allowed: 0600", str(path))
        if found.st_size > at_most_bytes:
            raise OSError(errno.EFBIG, f"larger than {at_most_bytes:,} bytes", str(path))
        return file.read(found.st_size)
