"""The journal: which batches the replay's rows came from, so that a crash forgets nothing acknowledged.

In: one entry a batch, appended before the batch is acknowledged. Out, after a crash: the accounts of all
actors and how far the replay is filled. It knows bytes and files, not what a transition means.

The file begins with a snapshot of everything that went before; `rotate` starts a new one at each
checkpoint. Each record is `length | CRC-32 | msgpack`. Rows and journal are written through the page cache:
killing the learner loses nothing, and `fsync` at checkpoints bounds what a power cut can cost.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from common.errors import ConfigError, StorageError
from common.files import read_limited
from common.run_directory import write_atomically

MAX_RECORD_BYTES = 256 << 20
"""A longer record is taken for damage."""
MAX_BYTES = 2 << 30
"""A larger file is no journal: each checkpoint starts it anew."""
_ENTRY_TYPES = (str, str, *(int,) * 8)
_FRAME = struct.Struct("<II")


class Entry(NamedTuple):
    """One batch that was taken; a tuple, as it is packed at once.

    Attributes:
        start: transitions inserted before it.
        inserted: its transitions that went into the replay.
        rejected: its transitions that did not.
        rows_crc: CRC-32 of its rows.
    """

    actor_id: str
    boot_id: str
    seq: int
    start: int
    inserted: int
    rejected: int
    rows_crc: int
    produced: int
    discarded: int
    resent: int


@dataclass(frozen=True)
class Recovered:
    """What a journal holds.

    Attributes:
        snapshot: as it was given to `rotate`.
        entries: batches taken since, oldest first.
        torn_bytes: cut off at the end, where a write was interrupted.
    """

    snapshot: dict[str, Any]
    entries: list[Entry]
    torn_bytes: int


class Journal:
    """Appends entries to one file.

    Args:
        path: the file; `rotate` or `recover` comes before the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def append(self, entry: Entry) -> None:
        """Write down a batch; it may be acknowledged afterwards.

        Raises:
            StorageError: the disk refuses.
        """
        assert self._descriptor is not None
        record = _pack(entry)
        try:
            written = os.write(self._descriptor, record)
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}; nothing more can be acknowledged") from None
        if written < len(record):
            raise StorageError(f"{self._path}: disk full; nothing more can be acknowledged")

    def rotate(self, snapshot: dict[str, Any]) -> None:
        """Start the file anew from a snapshot; the old one stays until the new one is safe.

        Raises:
            OSError: the disk refuses; the old file goes on.
        """
        try:
            write_atomically(self._path, _pack(snapshot))
        finally:
            if self._path.exists():  # whichever of the two it is now
                self._open()

    def recover(self) -> Recovered:
        """Read the file and go on behind its last whole record.

        Raises:
            ConfigError: there is none, or its beginning is damaged.
        """
        try:
            data = read_limited(self._path, MAX_BYTES)
        except OSError as error:
            raise ConfigError(f"--resume: {self._path}: {error.strerror}") from None
        records, end = _unpack(data)
        if not records or not isinstance(records[0], dict):
            raise ConfigError(f"--resume: {self._path} is damaged at its beginning; nothing can be resumed")
        try:
            entries = [Entry(*record) for record in records[1:]]
            if any(tuple(map(type, entry)) != _ENTRY_TYPES for entry in entries):
                raise TypeError
        except TypeError:
            raise ConfigError(f"--resume: {self._path} is of another version") from None
        if end < len(data):
            os.truncate(self._path, end)
        self._open()
        return Recovered(records[0], entries, len(data) - end)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        self.close()
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)


def _pack(value: object) -> bytes:
    body: bytes = msgpack.packb(value)
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


def _unpack(data: bytes) -> tuple[list[Any], int]:
    """Return all whole records, and where the last of them ends."""
    records: list[Any] = []
    offset = 0
    while offset + _FRAME.size <= len(data):
        length, crc = _FRAME.unpack_from(data, offset)
        body = data[offset + _FRAME.size : offset + _FRAME.size + length]
        if length > MAX_RECORD_BYTES or len(body) < length or zlib.crc32(body) != crc:
            break
        try:
            records.append(msgpack.unpackb(body, strict_map_key=True))
        except (ValueError, TypeError, RecursionError):
            break
        offset += _FRAME.size + length
    return records, offset
