"""A ring of fixed-size items in a memory-mapped file.

In: items in the order of arrival, as bytes. Out: items by their number, counted from the first ever inserted.
Must not know: what the items are.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.files import open_own

ZEROS_BYTES = 1 << 20
"""Bytes per write where the system has no call that reserves a file's space."""

Items = NDArray[np.uint8]


class Ring:
    """Keeps the newest `capacity` items; older ones are overwritten.

    The file is allocated in full at the start, so that a full disk is an error then and not a SIGBUS in the
    middle of a run. It may be larger than memory. It has spare room for one insertion, so that one that was
    interrupted overwrites no item that is still kept.

    Args:
        path: the file; an existing one of the same size is reopened.
        item_bytes: size of an item.
        capacity: items to keep.
        max_insert: largest number of items per insertion.

    Attributes:
        capacity: items to keep.
        count: items inserted so far; set it after reopening the file.

    Raises:
        ConfigError: the file cannot be created, or has another size.
    """

    def __init__(self, path: Path, item_bytes: int, capacity: int, max_insert: int) -> None:
        self._slots = capacity + max_insert
        _allocate(path, item_bytes * self._slots)
        self._file = np.memmap(path, dtype=np.uint8, mode="r+", shape=(self._slots, item_bytes))
        self._items = self._file.view(np.ndarray)  # the same memory; slicing a memmap is slow
        self.item_bytes, self.capacity = item_bytes, capacity
        self.count = 0

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self._slots * self.item_bytes

    @property
    def oldest(self) -> int:
        """Number of the oldest item that is kept."""
        return max(0, self.count - self.capacity)

    def insert(self, items: Items) -> None:
        """Append [n, item_bytes] items, n at most `max_insert`."""
        start = self.count % self._slots
        head = min(len(items), self._slots - start)
        self._items[start : start + head] = items[:head]
        self._items[: len(items) - head] = items[head:]
        self.count += len(items)

    def read(self, start: int, count: int) -> Items:
        """Return a copy of the [count, item_bytes] items that follow the first `start` ones."""
        items: Items = self._items[np.arange(start, start + count) % self._slots]
        return items

    def take(self, numbers: NDArray[Any], out: Items) -> None:
        """Copy the items with these numbers [...] into `out` [..., item_bytes]."""
        np.take(self._items, numbers % self._slots, axis=0, out=out, mode="clip")

    def flush(self) -> None:
        """Write everything to disk."""
        self._file.flush()


def _allocate(path: Path, size_bytes: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            existing = os.fstat(descriptor).st_size
            if existing not in (0, size_bytes):
                raise ConfigError(
                    f"{path}: holds {existing} bytes; allowed: {size_bytes} (--replay-capacity changed?)"
                )
            _fill(descriptor, existing, size_bytes)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(
            f"--run-dir: cannot keep a replay of {size_bytes:,} bytes in {path}: {error.strerror}"
        ) from None


def _fill(descriptor: int, existing: int, size_bytes: int) -> None:
    """Reserve the file's whole space on disk, so that a full disk is an error before training starts."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
        return
    zeros = bytes(ZEROS_BYTES)
    for start in range(existing, size_bytes, ZEROS_BYTES):
        os.pwrite(descriptor, zeros[: size_bytes - start], start)
