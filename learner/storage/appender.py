"""A file that grows only by whole records."""

import errno
import os
from pathlib import Path

from graspfleet.common.runtime.files import open_own


class Appender:
    """Appends to a file; a record that was written only in part is removed again.

    Args:
        path: the file, which must not be a symbolic link; existing content is kept.
        create: create the file if it does not exist.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._path = path
        self._descriptor = open_own(path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0))

    def write(self, record: bytes) -> None:
        """Append one record, through the page cache.

        Raises:
            OSError: the write failed; the file is unchanged.
        """
        written = os.write(self._descriptor, record)
        if written < len(record):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def begin_line(self) -> None:
        """Terminate a last line left incomplete by a crash, so that the next record begins a new line."""
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self.write(b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
