"""The journal: the batch that each replay row came from, so that a crash loses no acknowledged batch.

In: one entry per batch, appended before the batch is acknowledged, and counters before they are reported.
Out, after a crash: the sessions of all actors, the fill level of the replay, and lower bounds of the
counters. This module handles bytes and files and does not interpret transitions.

The file begins with a snapshot of the state before its first entry, written twice so that damage to one copy
is harmless; `rotate` starts a new file at each checkpoint. Each record is `mark | length | CRC-32 | msgpack`.
Rows and journal are written through the page cache: killing the learner loses nothing, and `fsync` at
checkpoints limits the loss in a power failure.
"""

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from graspfleet.common.errors import ConfigError, StorageError
from graspfleet.common.runtime.files import read_limited, write_atomically
from graspfleet.learner.storage.appender import Appender

FORMAT = 4
"""Format version of the file; a journal with another version is refused."""
MAX_RECORD_BYTES = 256 << 20
"""Largest record in bytes; a longer one is treated as damage."""
MAX_BYTES = 2 << 30
"""Largest journal in bytes; each checkpoint starts a new file, so a real one stays below."""
_ENTRY_TYPES = (str, str, *(int,) * 16)
_MARK = b"\xb5GFJ"
"""Start of each record; after damage, the next readable record is found by it."""
_FRAME = struct.Struct("<4sII")


class Entry(NamedTuple):
    """One batch that was taken, or a range of batches that were given up; a tuple, so it packs quickly.

    Attributes:
        seq: sequence number of the batch, or of the last one given up.
        start: transitions inserted before this batch.
        inserted: transitions of this batch inserted into the replay.
        rejected: transitions of this batch that were rejected.
        rows_crc: CRC-32 of all rows inserted so far, including this batch; it verifies the rows of unreadable
            entries before this one.
        produced, discarded, resent: the actor's own counters.
        episodes: finished episodes reported with the batch.
        lost: number of batches given up, ending at `seq`; 0 for a batch that was taken.
        first_frame: frames of the session before this batch.
        frame_start: frames stored before this batch.
        frames: frames of this batch that were stored.
        frames_crc: CRC-32 of all frames stored so far.
        relabeled: relabeled transitions of this batch inserted into the replay.
        relabeled_before: relabeled transitions inserted before this batch.
    """

    actor_id: str
    session_id: str
    seq: int
    start: int
    inserted: int
    rejected: int
    rows_crc: int
    produced: int
    discarded: int
    resent: int
    episodes: int
    lost: int
    first_frame: int = 0
    frame_start: int = 0
    frames: int = 0
    frames_crc: int = 0
    relabeled: int = 0
    relabeled_before: int = 0

    @property
    def first(self) -> int:
        """The lowest sequence number that the entry covers."""
        return self.seq + 1 - self.lost if self.lost else self.seq


@dataclass(frozen=True)
class Recovered:
    """Content of a journal.

    Attributes:
        snapshot: the argument of the last `rotate`.
        entries: batches taken since, oldest first.
        said: largest value of each counter noted since.
        damaged: number of unreadable places between whole records.
        torn_bytes: bytes cut off at the end, where a write was interrupted.
    """

    snapshot: dict[str, Any]
    entries: list[Entry]
    said: dict[str, float]
    damaged: int
    torn_bytes: int


class Journal:
    """Appends entries to one file.

    Args:
        path: the file; call `rotate` or `recover` before the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Appender | None = None

    def append(self, entry: Entry) -> None:
        """Append the entry of a batch, which may be acknowledged afterwards.

        Raises:
            StorageError: the write failed.
        """
        self._append(entry)

    def note(self, counters: dict[str, float]) -> None:
        """Append counters, which may be reported afterwards.

        Raises:
            StorageError: the write failed.
        """
        self._append(counters)

    def rotate(self, snapshot: dict[str, Any]) -> None:
        """Start a new file from a snapshot; the old one stays until the new one is safely written.

        Raises:
            OSError: the write failed; the old file remains in use.
        """
        try:
            write_atomically(self._path, 2 * _pack({"format": FORMAT, **snapshot}))
        finally:
            if self._path.exists():  # either the old file or the new one
                self._open()

    def recover(self) -> Recovered:
        """Read the file, and continue after its last whole record.

        Raises:
            ConfigError: the file is missing, both copies of its snapshot are damaged, or its format differs.
        """
        try:
            data = read_limited(self._path, MAX_BYTES)
        except OSError as error:
            raise ConfigError(f"--resume: {self._path}: {error.strerror}") from None
        records, damaged, end = _unpack(data)
        snapshots = [record for record in records[:2] if isinstance(record, dict) and "format" in record]
        if not snapshots:
            raise ConfigError(
                f"--resume: {self._path} is damaged at the start, or was written by a version of graspfleet"
                f" older than journal format {FORMAT}; the run cannot be resumed"
            )
        snapshot = snapshots[0]
        if (found := snapshot.pop("format")) != FORMAT:
            raise ConfigError(
                f"--resume: {self._path} has journal format {found}; supported by this version: {FORMAT}"
            )
        try:
            notes = [record for record in records[len(snapshots) :] if isinstance(record, dict)]
            entries = [_entry(record) for record in records[len(snapshots) :] if not isinstance(record, dict)]
            said = _largest(notes)
        except TypeError:
            raise ConfigError(f"--resume: {self._path} was written by another version") from None
        if end < len(data):
            os.truncate(self._path, end)
        self._open()
        return Recovered(snapshot, entries, said, damaged, len(data) - end)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, record: object) -> None:
        assert self._file is not None
        try:
            self._file.write(_pack(record))
        except OSError as error:
            raise StorageError(f"{self._path}: {error.strerror}; nothing more can be acknowledged") from None

    def _open(self) -> None:
        self.close()
        self._file = Appender(self._path, create=False)


def _pack(value: object) -> bytes:
    body: bytes = msgpack.packb(value)
    return _FRAME.pack(_MARK, len(body), zlib.crc32(body)) + body


def _unpack(data: bytes) -> tuple[list[Any], int, int]:
    """Return all whole records.

    Returns:
        The records; the number of damaged places between them; the offset where the last one ends.
    """
    records: list[Any] = []
    damaged, offset, end = 0, 0, 0
    while offset != -1:
        found = _record(data, offset)
        if found is None:
            offset = data.find(_MARK, offset + 1)
            continue
        damaged += offset > end
        record, end = found
        records.append(record)
        offset = end
    return records, damaged, end


def _record(data: bytes, offset: int) -> tuple[Any, int] | None:
    """Return the record at `offset` and its end offset; None if no valid record begins there."""
    if offset + _FRAME.size > len(data):
        return None
    mark, length, crc = _FRAME.unpack_from(data, offset)
    end = offset + _FRAME.size + length
    body = memoryview(data)[offset + _FRAME.size : end]
    if mark != _MARK or length > MAX_RECORD_BYTES or len(body) < length or zlib.crc32(body) != crc:
        return None
    try:
        return msgpack.unpackb(body, strict_map_key=True), end
    except (ValueError, TypeError, RecursionError):
        return None


def _entry(record: Any) -> Entry:
    entry = Entry(*record)
    if tuple(map(type, entry)) != _ENTRY_TYPES:
        raise TypeError
    return entry


def _largest(notes: Iterable[dict[str, float]]) -> dict[str, float]:
    """Return the largest value of each counter."""
    said: dict[str, float] = {}
    for note in notes:
        for name, value in note.items():
            if type(value) not in (int, float):
                raise TypeError
            said[name] = max(value, said.get(name, 0))
    return said
