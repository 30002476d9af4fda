"""The journal: which batches the replay's rows came from, so that a crash forgets nothing acknowledged.

In: one entry a batch, appended before the batch is acknowledged, and counters before anybody is told them.
Out, after a crash: the sessions of all actors, how far the replay is filled, and what the counters must not
fall below. It knows bytes and files, not what a transition means.

The file begins with a snapshot of everything that went before, written twice so that damage to one copy costs
nothing; `rotate` starts a new file at each checkpoint. Each record is `mark | length | CRC-32 | msgpack`.
Rows and journal are written through the page cache: killing the learner loses nothing, and `fsync` at
checkpoints bounds what a power cut can cost.
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

FORMAT = 3
"""Of the file; runs of another one are refused."""
MAX_RECORD_BYTES = 256 << 20
"""A longer record is taken for damage."""
MAX_BYTES = 2 << 30
"""A larger file is no journal: each checkpoint starts it anew."""
_ENTRY_TYPES = (str, str, *(int,) * 10)
_MARK = b"\xb5GFJ"
"""Before each record, and by no means within one: behind damage the next record is found by it."""
_FRAME = struct.Struct("<4sII")


class Entry(NamedTuple):
    """One batch that was taken, or some that were given up; a tuple, as it is packed at once.

    Attributes:
        seq: of the batch, or of the last one given up.
        start: transitions inserted before it.
        inserted: its transitions that went into the replay.
        rejected: its transitions that did not.
        rows_crc: CRC-32 of all rows inserted so far, its own the last: entries that cannot be read are
            vouched for by the next one that can.
        produced, discarded, resent: as the actor counts them.
        episodes: finished ones that came with it.
        lost: batches given up, those numbered up to `seq`; 0 for a batch that was taken.
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

    @property
    def first(self) -> int:
        """The lowest number that it speaks of."""
        return self.seq + 1 - self.lost if self.lost else self.seq


@dataclass(frozen=True)
class Recovered:
    """Content of a journal.

    Attributes:
        snapshot: as it was given to `rotate`.
        entries: batches taken since, oldest first.
        said: counters noted since, the largest of each.
        damaged: places between whole records that cannot be read.
        torn_bytes: cut off at the end, where a write was interrupted.
    """

    snapshot: dict[str, Any]
    entries: list[Entry]
    said: dict[str, float]
    damaged: int
    torn_bytes: int


class Journal:
    """Appends entries to one file.

    Args:
        path: the file; `rotate` or `recover` comes before the first `append`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Appender | None = None

    def append(self, entry: Entry) -> None:
        """Write down a batch; it may be acknowledged afterwards.

        Raises:
            StorageError: the disk refuses.
        """
        self._append(entry)

    def note(self, counters: dict[str, float]) -> None:
        """Write down counters; they may be told afterwards.

        Raises:
            StorageError: the disk refuses.
        """
        self._append(counters)

    def rotate(self, snapshot: dict[str, Any]) -> None:
        """Start the file anew from a snapshot; the old one stays until the new one is safe.

        Raises:
            OSError: the disk refuses; the old file goes on.
        """
        try:
            write_atomically(self._path, 2 * _pack({"format": FORMAT, **snapshot}))
        finally:
            if self._path.exists():  # whichever of the two it is now
                self._open()

    def recover(self) -> Recovered:
        """Read the file and go on behind its last whole record.

        Raises:
            ConfigError: there is none, both copies of its snapshot are damaged, or it has another format.
        """
        try:
            data = read_limited(self._path, MAX_BYTES)
        except OSError as error:
            raise ConfigError(f"--resume: {self._path}: {error.strerror}") from None
        records, damaged, end = _unpack(data)
        snapshots = [record for record in records[:2] if isinstance(record, dict) and "format" in record]
        if not snapshots:
            raise ConfigError(
                f"--resume: {self._path} is damaged at its beginning, or written by a version of graspfleet"
                f" before journal format {FORMAT}; nothing can be resumed"
            )
        snapshot = snapshots[0]
        if (found := snapshot.pop("format")) != FORMAT:
            raise ConfigError(
                f"--resume: {self._path} has journal format {found}; this version of graspfleet: {FORMAT}"
            )
        try:
            notes = [record for record in records[len(snapshots) :] if isinstance(record, dict)]
            entries = [_entry(record) for record in records[len(snapshots) :] if not isinstance(record, dict)]
            said = _largest(notes)
        except TypeError:
            raise ConfigError(f"--resume: {self._path} is of another version") from None
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
        The records; how many places between them are damaged; where the last of them ends.
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
    """Return the record that begins there and its end; None if none does that can be verified."""
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
