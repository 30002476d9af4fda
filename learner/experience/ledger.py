"""Record of all that has been delivered: rows in the replay, entries in the journal, sessions moved on.

In: batches in the order of their sessions. Out: rows, entries, sessions and counters, in this order: what has
been acknowledged is found again after a crash. Must not know: frames, peers, time.
"""

import zlib
from collections import Counter
from collections.abc import Mapping

from graspfleet.common.errors import ConfigError
from graspfleet.common.messages import Batch
from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.experience.journal import Entry, Journal, Recovered
from graspfleet.learner.experience.peers.session import Sender, Session
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.recovery import Recovery
from graspfleet.learner.experience.replay import Replay


class Ledger:
    """Everything delivered so far, in memory and on the disk.

    Args:
        spec: what a transition looks like.
        replay: where rows go.
        journal: where batches are written down; `checkpoint` or `restore` comes first.
        sessions: of the actors.
        counters: that checkpoints keep; `episodes`, `lost`, `torn` and `damaged` are counted here.

    Attributes:
        told: counters as somebody has been told them, also of other parts; no successor tells less.
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
        self._rows_crc = 0

    def enter(self, batch: Batch, session: Session, rows: Records | None) -> Entry:
        """Enter the next batch of a session; return its entry: either all of its transitions, or none.

        Args:
            batch: the batch.
            session: its session.
            rows: its transitions; None if they are malformed, so that the batch is used up without them.

        Raises:
            StorageError: the disk refuses.
        """
        start, count = self._replay.env_steps, len(batch.rows) if batch.rows.ndim else 0
        if rows is not None:
            self._replay.insert(rows)
        inserted = self._replay.env_steps - start
        rows_crc = zlib.crc32(batch.rows.data, self._rows_crc) if inserted else self._rows_crc
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
            len(batch.episodes) if inserted or not count else 0,
            lost=0,
        )
        self._journal.append(entry)
        self._rows_crc = rows_crc
        self._credit(session, entry)
        return entry

    def give_up(self, sender: Sender, session: Session, next_seq: int) -> None:
        """Stop waiting for batches of a session below `next_seq`: its actor keeps them no more.

        Raises:
            StorageError: the disk refuses.
        """
        lost = next_seq - session.next_seq
        if lost > 0:
            kept = session.produced, session.discarded, session.resent
            entry = Entry(*sender, next_seq - 1, self._replay.env_steps, 0, 0, self._rows_crc, *kept, 0, lost)
            self._journal.append(entry)
            self._credit(session, entry)

    def checkpoint(self) -> None:
        """Have everything on the disk, and start the journal anew from here.

        Raises:
            OSError: the disk refuses; the journal at hand goes on.
        """
        self._replay.flush()
        self._journal.rotate(
            {
                "spec": self._spec.to_mapping(),
                "env_steps": self._replay.env_steps,
                "sessions": self._sessions.state_dict(),
                "rows_crc": self._rows_crc,
                "counters": dict(self._counters),
                "said": self.told,
            }
        )

    def restore(self, recovered: Recovered) -> None:
        """Go on from a journal, as far as the rows it speaks of are there.

        Raises:
            ConfigError: its snapshot makes no sense.
        """
        snapshot = recovered.snapshot
        try:
            self._replay.env_steps, rows_crc = snapshot["env_steps"], snapshot["rows_crc"]
            self._sessions.load_state_dict(snapshot["sessions"])
            self._counters.update(snapshot["counters"])
            self.told.update({**snapshot["said"], **recovered.said})
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ConfigError("--resume: the journal's snapshot is damaged") from None
        recovery = Recovery(self._replay, self._sessions, rows_crc)
        recovery.follow(recovered, self._credit)
        self._rows_crc = recovery.rows_crc
        self._counters["torn"] += recovery.torn
        self._counters["damaged"] += recovered.damaged

    def note(self, counters: Mapping[str, float]) -> None:
        """Write down counters before they are told to anybody, so that no successor tells less.

        Raises:
            StorageError: the disk refuses.
        """
        self._journal.note(dict(counters))
        self.told.update(counters)

    def _credit(self, session: Session, entry: Entry) -> None:
        """Move a session on by what the journal says of it."""
        self._counters["episodes"] += entry.episodes
        self._counters["lost"] += entry.lost
        session.next_seq = entry.seq + 1
        session.inserted += entry.inserted
        session.rejected += entry.rejected
        session.produced, session.discarded = entry.produced, entry.discarded
        session.resent = entry.resent
