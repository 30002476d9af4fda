"""Record of everything delivered: rows in the replay, entries in the journal, and the sessions' progress.

In: batches in the order of their sessions. Out: rows, entries, sessions and counters, updated in this order
so that every acknowledged batch survives a crash. Must not know: frames, peers, time.
"""

import zlib
from collections import Counter
from collections.abc import Mapping

import numpy as np

from graspfleet.common.errors import ConfigError
from graspfleet.common.messages import Batch
from graspfleet.common.observations.fields import Pixels
from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.experience.journal import Entry, Journal, Recovered
from graspfleet.learner.experience.peers.frame_window import MISSING
from graspfleet.learner.experience.peers.session import Sender, Session
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.recovery import Recovery
from graspfleet.learner.experience.replay import Replay


class Ledger:
    """Everything delivered so far, in memory and on disk.

    Args:
        spec: layout of a transition.
        replay: receives the rows.
        journal: receives an entry for each batch; call `checkpoint` or `restore` first.
        sessions: sessions of the actors.
        counters: counters saved in checkpoints; `episodes`, `lost`, `torn` and `damaged` are counted here.

    Attributes:
        told: counters as last reported, those of other parts included; a resumed learner never reports less.
    """

    def __init__(
        self, spec: EnvSpec, replay: Replay, journal: Journal, sessions: Sessions, counters: Counter[str]
    ) -> None:
        self.told: dict[str, float] = {}
        self._spec = spec
        self._replay = replay
        self._journal = journal
        self._sessions = sessions
        self._counters = counters
        self._rows_crc = self._frames_crc = 0

    def enter(self, batch: Batch, session: Session, rows: Records | None) -> Entry:
        """Enter the next batch of a session; return its entry.

        Args:
            batch: the batch.
            session: its session.
            rows: its transitions; None if they are malformed: the batch then consumes its number without
                them.

        Raises:
            StorageError: the write failed.
        """
        start, count = self._replay.rows.count, len(batch.rows) if batch.rows.ndim else 0
        frame_start, frames = self._replay.num_frames, None
        relabeled_before = self._replay.relabeled
        if rows is not None:
            rows, frames = self._placed(batch, session, rows)
            self._replay.insert(rows, frames)
        inserted = self._replay.rows.count - start
        rows_crc = self._rows_crc if rows is None else zlib.crc32(rows.data, self._rows_crc)
        frames_crc = self._frames_crc if frames is None else zlib.crc32(frames.data, self._frames_crc)
        entry = Entry(
            batch.actor_id,
            batch.session_id,
            batch.seq,
            start,
            inserted,
            count - inserted,
            rows_crc,
            batch.produced,
            batch.discarded,
            batch.resent,
            0 if rows is None else len(batch.episodes),
            lost=0,
            first_frame=batch.first_frame,
            frame_start=frame_start,
            frames=self._replay.num_frames - frame_start,
            frames_crc=frames_crc,
            relabeled=self._replay.relabeled - relabeled_before,
            relabeled_before=relabeled_before,
        )
        self._journal.append(entry)
        self._rows_crc, self._frames_crc = rows_crc, frames_crc
        self._credit(session, entry)
        return entry

    def _placed(self, batch: Batch, session: Session, rows: Records) -> tuple[Records, Pixels | None]:
        """Return a batch's transitions with references to stored frames, and its frames.

        Transitions of frames that were lost, or are not stored any more, are left out.
        """
        ring = self._replay.frames
        if ring is None:
            return rows, None
        frames = batch.new_frames(self._spec)
        new = np.arange(ring.count, ring.count + len(frames), dtype=np.uint64)
        table = np.concatenate((session.frames.numbers(batch.first_frame), new))
        rows = rows.copy()
        for name in ("frame", "next_frame"):
            rows[name] = table[rows[name].astype(np.intp)]
        oldest = self._replay.oldest_frame(len(frames))
        first, last = (end(rows["frame"], rows["next_frame"]) for end in (np.minimum, np.maximum))
        return rows[(first >= oldest) & (last != MISSING)], frames

    def give_up(self, sender: Sender, session: Session, next_seq: int) -> None:
        """Stop waiting for batches of a session below `next_seq`, which its actor no longer keeps.

        Raises:
            StorageError: the write failed.
        """
        lost = next_seq - session.next_seq
        if lost > 0:
            kept = session.produced, session.discarded, session.resent
            entry = Entry(
                *(*sender, next_seq - 1, self._replay.rows.count, 0, 0, self._rows_crc, *kept, 0, lost),
                frame_start=self._replay.num_frames,
                frames_crc=self._frames_crc,
                relabeled_before=self._replay.relabeled,
            )
            self._journal.append(entry)
            self._credit(session, entry)

    def checkpoint(self) -> None:
        """Flush everything to disk, and start a new journal from the present state.

        Raises:
            OSError: the write failed; the old journal remains in use.
        """
        self._replay.flush()
        self._journal.rotate(
            {
                "spec": self._spec.to_mapping(),
                "num_rows": self._replay.rows.count,
                "relabeled": self._replay.relabeled,
                "sessions": self._sessions.state_dict(),
                "rows_crc": self._rows_crc,
                "num_frames": self._replay.num_frames,
                "frames_crc": self._frames_crc,
                "counters": dict(self._counters),
                "said": self.told,
            }
        )

    def restore(self, recovered: Recovered) -> None:
        """Restore the state from a journal, as far as the rows of its entries are present.

        Raises:
            ConfigError: the snapshot is damaged.
        """
        snapshot = recovered.snapshot
        try:
            self._replay.restore(snapshot["num_rows"], snapshot["num_frames"], snapshot["relabeled"])
            crcs = snapshot["rows_crc"], snapshot["frames_crc"]
            self._sessions.load_state_dict(snapshot["sessions"])
            self._counters.update(snapshot["counters"])
            self.told.update({**snapshot["said"], **recovered.said})
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ConfigError("--resume: the journal's snapshot is damaged") from None
        recovery = Recovery(self._replay, self._sessions, *crcs)
        recovery.follow(recovered, self._credit)
        self._rows_crc, self._frames_crc = recovery.rows_crc, recovery.frames_crc
        self._counters["torn"] += recovery.torn
        self._counters["damaged"] += recovered.damaged

    def note(self, counters: Mapping[str, float]) -> None:
        """Journal counters before they are reported, so that a resumed learner never reports less.

        Raises:
            StorageError: the write failed.
        """
        self._journal.note(dict(counters))
        self.told.update(counters)

    def _credit(self, session: Session, entry: Entry) -> None:
        """Update a session and the counters by a journal entry."""
        self._counters["episodes"] += entry.episodes
        self._counters["lost"] += entry.lost
        session.next_seq = entry.seq + 1
        session.frames.add(entry.first_frame, entry.frame_start, entry.frames)
        session.inserted += entry.inserted
        session.rejected += entry.rejected
        session.relabeled += entry.relabeled
        session.produced, session.discarded = entry.produced, entry.discarded
        session.resent = entry.resent
