"""Batches that have arrived ahead of the rate limiter; the learner keeps receiving while it holds them.

In: batches in the order of arrival. Out: the same batches in the same order, once the limiter allows them.
They stay unacknowledged until then, so a crash loses nothing. Must not know: replay, journal, sockets.
"""

from collections import deque

from graspfleet.common.errors import ProtocolError
from graspfleet.common.messages import Batch
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.experience.peers.session import Session

MAX_HELD_BYTES = 256 << 20
"""Largest number of bytes held, over all actors."""
MAX_HELD_BYTES_PER_ACTOR = 16 << 20
"""Largest number of bytes held for one session, so that no actor can use up the total."""


class HeldBatches:
    """A bounded queue of batches, each the next one of its session.

    Args:
        spec: layout of a transition.

    Attributes:
        env_steps: number of env steps held.
    """

    def __init__(self, spec: EnvSpec) -> None:
        self.env_steps = 0
        self._spec = spec
        self._queue: deque[tuple[Batch, Session, int]] = deque()  # with its env steps
        self._size_bytes = 0

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, batch: Batch, session: Session) -> None:
        """Append a batch.

        Raises:
            ProtocolError: a limit is reached, in total or for this session; the actor has to resend it.
        """
        size_bytes = batch.size_bytes
        if session.held_bytes + size_bytes > MAX_HELD_BYTES_PER_ACTOR:
            raise ProtocolError("too-far-ahead", f"{session.held_bytes} bytes are held already")
        if self._size_bytes + size_bytes > MAX_HELD_BYTES:
            raise ProtocolError("too-much-held", f"{self._size_bytes} bytes of all actors are held already")
        env_steps = batch.num_env_steps(self._spec)
        self._queue.append((batch, session, env_steps))
        self._count(batch, session, env_steps, 1)

    def next_env_steps(self) -> int:
        """Return the number of env steps in the oldest batch; the queue must not be empty."""
        return self._queue[0][2]

    def pop(self) -> tuple[Batch, Session]:
        """Return the oldest batch and its session."""
        batch, session, env_steps = self._queue.popleft()
        self._count(batch, session, env_steps, -1)
        return batch, session

    def _count(self, batch: Batch, session: Session, env_steps: int, sign: int) -> None:
        session.held += sign
        session.held_bytes += sign * batch.size_bytes
        self._size_bytes += sign * batch.size_bytes
        self.env_steps += sign * env_steps
