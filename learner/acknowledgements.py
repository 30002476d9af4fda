"""Acknowledgements that are due, and how far ahead each actor may run.

In: who has said something, and whose batches are held. Out: `Ack` messages. Time is passed in; no socket is
known here.
"""

from collections.abc import Callable

from common.interval import Interval
from common.messages import MAX_ROOM, Ack
from learner.accounts import Accounts, Boot
from learner.holding import HeldBatches
from learner.rate_limiter import RateLimiter

REPEAT_INTERVAL_S = 0.05
"""Seconds between two acknowledgements to an actor whose batches are held: it hears that it is heard."""
COUNT_ACTORS_INTERVAL_S = 0.25
"""Seconds between two counts of the live actors."""


class Acknowledgements:
    """Acknowledgements due since the last call.

    Args:
        accounts_of: returns the accounts that a process start belongs to: actors' or evaluators'.
        held: batches that wait for the limiter.
        limiter: says how many transitions it lets pass; None: any number.
        count_alive: returns the number of live actors.

    Attributes:
        actors_n: live actors as last counted, at least 1; they share what the limiter lets pass.
    """

    def __init__(
        self,
        accounts_of: Callable[[Boot], Accounts],
        held: HeldBatches,
        limiter: RateLimiter | None,
        count_alive: Callable[[], int],
    ) -> None:
        self.actors_n = 1
        self._accounts_of = accounts_of
        self._held = held
        self._limiter = limiter
        self._count_alive = count_alive
        self._due: set[Boot] = set()
        self._waiting: set[Boot] = set()
        self._count_actors = Interval(COUNT_ACTORS_INTERVAL_S)
        self._repeat = Interval(REPEAT_INTERVAL_S)

    def add(self, boot: Boot) -> None:
        """Note that a process has said something."""
        self._due.add(boot)

    def repeat(self, boot: Boot) -> None:
        """Note that batches of a process are held: it is told so again until they are taken."""
        self._waiting.add(boot)

    def take(self, now_s: float) -> list[tuple[str, Ack]]:
        """Return (actor_id, message) for everyone to whom one is due.

        Args:
            now_s: monotonic time.
        """
        if self._repeat.due(now_s):
            self._due |= self._waiting
            self._waiting = {boot for boot in self._waiting if self._holds(boot)}
        room = self._room(now_s) if self._due else 0
        messages = [(boot[0], self._message(boot, room, now_s)) for boot in self._due]
        self._due.clear()
        return [(actor_id, message) for actor_id, message in messages if message is not None]

    def _holds(self, boot: Boot) -> bool:
        account = self._accounts_of(boot).get(boot)
        return account is not None and account.held > 0

    def _message(self, boot: Boot, room: int, now_s: float) -> Ack | None:
        accounts = self._accounts_of(boot)
        account = accounts.get(boot)
        if account is None:  # closed since: it had left
            return None
        challenge = accounts.challenge(boot[0], now_s)
        return Ack(
            boot_id=boot[1], next_seq=account.next_seq, held=account.held, room=room, challenge=challenge
        )

    def _room(self, now_s: float) -> int:
        """Return how many transitions each live actor may make before it is heard again."""
        limiter = self._limiter
        if limiter is None:
            return MAX_ROOM
        if limiter.inserts >= limiter.max_inserts:
            return 0
        if self._count_actors.due(now_s):
            self.actors_n = max(1, self._count_alive())
        room = min(MAX_ROOM, limiter.room()) - self._held.transitions
        return max(1, int(room) // self.actors_n)
