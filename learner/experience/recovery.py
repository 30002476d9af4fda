"""Recovery of sessions and rows from a journal, as far as both can be verified.

In: the journal's entries, the replay's file. Out: sessions, the fill level of the replay, and log lines about
lost data. Must not know: peers, time, networks.
"""

import logging
import zlib
from collections.abc import Callable

from graspfleet.common.errors import RefusedError
from graspfleet.common.fields import MAX_ROWS
from graspfleet.learner.experience.journal import Entry, Recovered
from graspfleet.learner.experience.peers.session import Session
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.replay import Replay
from graspfleet.learner.experience.ring import Ring

log = logging.getLogger(__name__)


class Recovery:
    """Replays the entries of a journal, oldest first.

    Rows between two readable entries belong to unreadable ones. The next entry's CRC covers them too, so they
    are kept if it matches. Their batches were acknowledged, so their sequence numbers are not taken again;
    the next entry of the same session shows which numbers those are.

    Args:
        replay: the replay as of the journal's snapshot; advanced as far as rows are present.
        sessions: sessions as of the snapshot.
        rows_crc: CRC-32 of all rows up to the snapshot.
        frames_crc: CRC-32 of all frames up to the snapshot.

    Attributes:
        torn: whether the end of the rows or of the journal is missing.
        rows_crc: CRC-32 of all rows that are present.
        frames_crc: CRC-32 of all frames that are present.
    """

    def __init__(self, replay: Replay, sessions: Sessions, rows_crc: int, frames_crc: int) -> None:
        self.torn = False
        self.rows_crc, self.frames_crc = rows_crc, frames_crc
        self._replay = replay
        self._sessions = sessions
        self._unread_batches = 0
        self._unread_rows = 0
        self._unclaimed_rows = 0

    def follow(self, recovered: Recovered, credit: Callable[[Session, Entry], None]) -> None:
        """Apply all entries whose rows are present; log what could not be read or kept.

        Args:
            recovered: content of the journal.
            credit: updates a session by an entry.
        """
        entries = recovered.entries
        end = max((entry.start + entry.inserted for entry in entries), default=0)
        frame_end = max((entry.frame_start + entry.frames for entry in entries), default=0)
        for index, entry in enumerate(entries):
            if entry.start < self._replay.rows.count or not (
                self._rows_are_there(entry, end) and self._frames_are_there(entry, frame_end)
            ):
                self._cut(entries[index:], end)
                break
            session = self._session(entry)
            self._bridge(session, entry)
            credit(session, entry)
            counts = entry.start + entry.inserted, entry.frame_start + entry.frames
            self._replay.restore(*counts, entry.relabeled_before + entry.relabeled)
            self.rows_crc, self.frames_crc = entry.rows_crc, entry.frames_crc
        if recovered.torn_bytes:
            self.torn = True
            log.warning("the journal's last %d bytes are an incomplete entry; cut off", recovered.torn_bytes)
        if recovered.damaged:
            log.warning(
                "the journal is damaged in %d places: %d batches there cannot be read; their %d transitions"
                " are in the replay%s",
                recovered.damaged,
                self._unread_batches,
                self._unread_rows,
                f", {self._unclaimed_rows} of them of unknown actors" if self._unclaimed_rows else "",
            )

    def _session(self, entry: Entry) -> Session:
        """Return the session of an entry; a throwaway one if the limit on sessions is reached."""
        try:
            return self._sessions.open((entry.actor_id, entry.session_id))
        except RefusedError:
            return Session(next_seq=entry.first)

    def _rows_are_there(self, entry: Entry, end: int) -> bool:
        """Return whether all rows since the last entry, up to the end of this one, are intact."""
        found = _checksum(self._replay.rows, entry.start + entry.inserted, end, self.rows_crc)
        return found in (None, entry.rows_crc)

    def _frames_are_there(self, entry: Entry, end: int) -> bool:
        """Return whether all frames since the last entry, up to the end of this one, are intact."""
        if self._replay.frames is None:
            return True
        found = _checksum(self._replay.frames, entry.frame_start + entry.frames, end, self.frames_crc)
        return found in (None, entry.frames_crc)

    def _bridge(self, session: Session, entry: Entry) -> None:
        """Credit a session with its batches whose entries are unreadable."""
        gap = entry.start - self._replay.rows.count
        self._unread_rows += gap
        self._unclaimed_rows += gap
        missing = entry.first - session.next_seq
        if missing > 0:
            made = entry.produced - session.produced - entry.inserted - entry.rejected
            claimed = max(0, min(self._unclaimed_rows, made))
            session.inserted += claimed
            self._unclaimed_rows -= claimed
            self._unread_batches += missing

    def _cut(self, lost: list[Entry], end: int) -> None:
        """Log the batches that are lost because their rows are missing."""
        self.torn = True
        log.warning(
            "the rows end at transition %d: %d batches up to transition %d were not completely written to"
            " disk and are lost, unless their actors still keep them",
            self._replay.rows.count,
            len(lost),
            end,
        )


def _checksum(ring: Ring, until: int, end: int, crc: int) -> int | None:
    """Return the CRC-32 of a ring's items up to number `until`.

    Args:
        ring: its `count` is the number of items that `crc` covers.
        until: number of items to cover.
        end: number of items in the ring.
        crc: checksum so far.

    Returns:
        None if some of them were overwritten, as intended: they cannot be verified, and are not used either.
    """
    if ring.count < end - ring.capacity:
        return None
    for start in range(ring.count, until, MAX_ROWS):
        crc = zlib.crc32(ring.read(start, min(MAX_ROWS, until - start)).data, crc)
    return crc
