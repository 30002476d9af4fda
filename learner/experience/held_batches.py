"""Batches that have arrived before it is their turn: the learner listens on while the rate limiter holds.

In: batches in the order of their arrival. Out: the same order, once the limiter lets them pass. They are not
acknowledged meanwhile, so nothing is lost with them. Must not know: replay, journal, sockets.
"""

from collections import deque

from graspfleet.common.errors import ProtocolError
from graspfleet.common.messages import Batch
from graspfleet.learner.experience.peers.session import Session

MAX_HELD_BYTES = 256 << 20
"""Bytes held at the most, of all actors."""
MAX_HELD_BYTES_PER_ACTOR = 16 << 20
"""Bytes held at the most of one process start of an actor, so that none can use up what all share."""


class HeldBatches:
    """A bounded queue of batches, each the next one of its session.

    Attributes:
        transitions: how many are held.
    """

    def __init__(self) -> None:
        self.transitions = 0
        self._queue: deque[tuple[Batch, Session]] = deque()
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, batch: Batch, session: Session) -> None:
        """Append a batch.

        Raises:
            ProtocolError: there is too much already, in all or of this session; it has to come again.
        """
        size_bytes = batch.rows.nbytes
        if session.held_bytes + size_bytes > MAX_HELD_BYTES_PER_ACTOR:
            raise ProtocolError("too-far-ahead", f"{session.held_bytes} bytes are held already")
        if self._size_bytes + size_bytes > MAX_HELD_BYTES:
            raise ProtocolError("too-much-held", f"{self._size_bytes} bytes of all actors are held already")
        self._queue.append((batch, session))
        self._count(batch, session, 1)

    def next_rows(self) -> int:
        """Return how many transitions the oldest batch says it has; at least one must be held."""
        return len(self._queue[0][0].rows) if self._queue[0][0].rows.ndim else 0

    def pop(self) -> tuple[Batch, Session]:
        """Return the oldest batch and its session."""
        batch, session = self._queue.popleft()
        self._count(batch, session, -1)
        return batch, session

    def _count(self, batch: Batch, session: Session, sign: int) -> None:
        session.held += sign
        session.held_bytes += sign * batch.rows.nbytes
        self._size_bytes += sign * batch.rows.nbytes
        self.transitions += sign * (len(batch.rows) if batch.rows.ndim else 0)
