"""A file that grows by whole records."""

import errno
import os
from pathlib import Path

from graspfleet.common.runtime.files import open_own


class Appender:
    """Appends to a file; a record that the disk takes only in part is taken back.

    Args:
        path: the file, no symbolic link; what it holds stays.
        create: make it if there is none.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self._path = path
        self._descriptor = open_own(path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0))

    def write(self, record: bytes) -> None:
        """Append one record, through the page cache.

        Raises:
            OSError: the disk refuses; the file holds what it held before.
        """
        written = os.write(self._descriptor, record)
        if written < len(record):
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def begin_line(self) -> None:
        """End a last line that a crash has torn, so that the next record stands on a line of its own."""
        size = os.fstat(self._descriptor).st_size
        if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
            self.write(b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
