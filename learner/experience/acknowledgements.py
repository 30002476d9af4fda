"""Acknowledgements that are due, and how far ahead each actor may run.

In: senders of messages, and senders whose batches are held. Out: `Ack` messages. Time is passed in; no
sockets here.
"""

from collections.abc import Callable

from graspfleet.common.fields import MAX_ROOM
from graspfleet.common.messages import Ack
from graspfleet.common.runtime.interval import Interval
from graspfleet.learner.experience.held_batches import HeldBatches
from graspfleet.learner.experience.peers.session import Sender
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.rate_limiter import RateLimiter

REPEAT_INTERVAL_S = 0.05
"""Seconds between two acknowledgements to an actor whose batches are held; they tell it not to resend."""
COUNT_ACTORS_INTERVAL_S = 0.25
"""Seconds between two counts of the live actors."""


class Acknowledgements:
    """Acknowledgements due since the last call.

    Args:
        sessions_of: returns the sessions that hold a sender's own: the actors' or the evaluators'.
        held: batches that wait for the limiter.
        limiter: decides how many transitions may be inserted; None for no limit.
        count_alive: returns the number of live actors.

    Attributes:
        num_actors: live actors at the last count, at least 1; they share what the limiter allows.
    """

    def __init__(
        self,
        sessions_of: Callable[[Sender], Sessions],
        held: HeldBatches,
        limiter: RateLimiter | None,
        count_alive: Callable[[], int],
    ) -> None:
        self.num_actors = 1
        self._sessions_of = sessions_of
        self._held = held
        self._limiter = limiter
        self._count_alive = count_alive
        self._due: set[Sender] = set()
        self._waiting: set[Sender] = set()
        self._count_actors = Interval(COUNT_ACTORS_INTERVAL_S)
        self._repeat = Interval(REPEAT_INTERVAL_S)

    def add(self, sender: Sender) -> None:
        """Mark an acknowledgement to this sender as due."""
        self._due.add(sender)

    def repeat(self, sender: Sender) -> None:
        """Repeat the acknowledgement to this sender until its held batches are taken."""
        self._waiting.add(sender)

    def take(self, now_s: float) -> list[tuple[str, Ack]]:
        """Return (actor_id, message) for every sender whose acknowledgement is due.

        Args:
            now_s: monotonic time, in seconds.
        """
        if self._repeat.due(now_s):
            self._due |= self._waiting
            self._waiting = {sender for sender in self._waiting if self._holds(sender)}
        room = self._room(now_s) if self._due else 0
        messages = [(sender[0], self._message(sender, room, now_s)) for sender in self._due]
        self._due.clear()
        return [(actor_id, message) for actor_id, message in messages if message is not None]

    def _holds(self, sender: Sender) -> bool:
        session = self._sessions_of(sender).get(sender)
        return session is not None and session.held > 0

    def _message(self, sender: Sender, room: int, now_s: float) -> Ack | None:
        sessions = self._sessions_of(sender)
        session = sessions.get(sender)
        if session is None:  # closed in the meantime, because its process had left
            return None
        challenge = sessions.challenge(sender[0], now_s)
        return Ack(
            session_id=sender[1], next_seq=session.next_seq, held=session.held, room=room, challenge=challenge
        )

    def _room(self, now_s: float) -> int:
        """Return how many transitions each live actor may produce before its next acknowledgement."""
        limiter = self._limiter
        if limiter is None:
            return MAX_ROOM
        if limiter.env_steps >= limiter.max_inserts:
            return 0
        if self._count_actors.due(now_s):
            self.num_actors = max(1, self._count_alive())
        room = min(MAX_ROOM, limiter.room()) - self._held.env_steps
        return max(1, int(room) // self.num_actors)
