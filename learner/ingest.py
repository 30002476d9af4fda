"""Checks, de-duplicates and accounts for everything that peers send (go-back-N, receiver side).

In: frames. Out: rows in the replay, entries in the journal, and per actor what to acknowledge. Whatever a
peer sends, it can neither stop the learner nor touch another actor's account. Time is passed in; no socket
is opened here.
"""

import logging
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from common.errors import ConfigError, ProtocolError
from common.interval import Interval
from common.messages import MAX_ROOM, Ack, Batch, Bye, Episode, Evaluation, EvaluationStarted, Hello, Message
from common.protocol import Buffer, decode
from common.security import require_own
from common.specs import EnvSpec
from common.transport import Received
from learner.accounts import Account, Accounts, Boot, Liveness
from learner.holding import HeldBatches
from learner.journal import Entry, Journal, Recovered
from learner.policy_lag import PolicyLag
from learner.quota import Quota
from learner.rate_limiter import RateLimiter
from learner.replay import Replay

log = logging.getLogger(__name__)

MAX_EVALUATIONS = 16
"""Taken in between two looks at them, announcements included; each may cost a checkpoint."""
REPEAT_INTERVAL_S = 0.05
"""Seconds between two acknowledgements to an actor whose batches are held: it hears that it is heard."""
COUNT_ACTORS_INTERVAL_S = 0.25
"""Seconds between two counts of the live actors."""


@dataclass
class News:
    """What has come in since the last look."""

    episodes: list[Episode] = field(default_factory=list)


class Ingest:
    """The learner's half of the delivery guarantee.

    A batch is taken if its number is the next one of its boot: rows into the replay, an entry into the
    journal, then the account moves on and the batch may be acknowledged.

    Args:
        spec: what a transition looks like; everything else is refused.
        replay: where transitions go.
        journal: where batches are written down; `start` or `restore` opens it.
        accounts: still empty.
        quota: how much an actor may send; None: anything.
        limiter: is asked before each batch and told what it brought; None takes everything.

    Attributes:
        held: batches that wait for the limiter.
        actors_n: live actors as last counted, at least 1; they share what the limiter lets pass.
        counters: duplicates, gaps, lost, throttled and malformed batches, torn journals, and rejections by
            reason.
        news: what the reporter has not yet looked at.
        evaluations: what evaluators said and the loop has not yet looked at.
        lag: how old the policies behind the transitions are.
    """

    def __init__(
        self,
        spec: EnvSpec,
        replay: Replay,
        journal: Journal,
        accounts: Accounts,
        quota: Quota | None = None,
        limiter: RateLimiter | None = None,
    ) -> None:
        self.accounts = accounts
        self.held = HeldBatches()
        self.counters: Counter[str] = Counter()
        self.news = News()
        self.evaluations: list[Evaluation | EvaluationStarted] = []
        self.lag = PolicyLag()
        self._spec = spec
        self._replay = replay
        self._journal = journal
        self._quota = quota
        self._limiter = limiter
        self.actors_n = 1
        self._count_actors = Interval(COUNT_ACTORS_INTERVAL_S)
        self._repeat = Interval(REPEAT_INTERVAL_S)
        self._listened_s = float("-inf")
        self._unacknowledged: set[Boot] = set()
        self._waiting: set[Boot] = set()
        self._logged: set[tuple[str, str]] = set()

    def drain(
        self, receive: Callable[[], Received | None], at_most: int, now_s: float, *, everything: bool = False
    ) -> int:
        """Take in up to `at_most` frames that have arrived; return the transitions inserted.

        Batches beyond what the limiter lets pass are held, so that hellos, evaluations and goodbyes behind
        them are heard.

        Args:
            receive: returns the next frame, None when there is none.
            at_most: frames.
            now_s: monotonic time.
            everything: take all batches, whatever the limiter says.
        """
        before = self._replay.inserted
        self._take_held(everything=everything)
        for _ in range(at_most):
            received = receive()
            if received is None:
                self._listened_s = now_s  # nobody has anything left to say
                break
            self.accept(received.frame, now_s, received.key)
            self._take_held(everything=everything)
        return self._replay.inserted - before

    def accept(self, frame: Buffer, now_s: float, key: str | None = None) -> None:
        """Take in one frame, whatever is in it.

        Args:
            frame: the bytes.
            now_s: monotonic time.
            key: name of its sender's key, None in plaintext.

        Raises:
            StorageError: the disk refuses the journal's entry.
        """
        try:
            self._dispatch(decode(frame), now_s, len(frame), key)
        except ProtocolError as error:
            self._refuse("malformed", "some peer" if key is None else f"key {key}", error)

    def take_news(self) -> News:
        """Return what has come in since the last call."""
        news, self.news = self.news, News()
        return news

    def take_evaluations(self) -> list[Evaluation | EvaluationStarted]:
        """Return what evaluators have said since the last call, in order."""
        evaluations, self.evaluations = self.evaluations, []
        return evaluations

    def acknowledgements(self, now_s: float = 0.0) -> list[tuple[str, Ack]]:
        """Return (actor_id, message) for every actor that has sent something since the last call.

        Those whose batches are held are told again every `REPEAT_INTERVAL_S` that somebody is there.

        Args:
            now_s: monotonic time.
        """
        if self._repeat.due(now_s):
            self._unacknowledged |= self._waiting
            self._waiting = {boot for boot in self._waiting if self.accounts[boot].held}
        room = self._room(now_s) if self._unacknowledged else 0
        due = [(boot[0], self._acknowledgement(boot, room)) for boot in self._unacknowledged]
        self._unacknowledged.clear()
        return due

    def _acknowledgement(self, boot: Boot, room: int) -> Ack:
        account = self.accounts[boot]
        return Ack(boot_id=boot[1], next_seq=account.next_seq, held=account.held, room=room)

    def _room(self, now_s: float) -> int:
        """Return how many transitions each live actor may make before it is heard again."""
        limiter = self._limiter
        if limiter is None:
            return MAX_ROOM
        if limiter.inserts >= limiter.max_inserts:
            return 0
        if self._count_actors.due(now_s):
            self.actors_n = max(1, sum(state == "alive" for state in self.liveness().values()))
        room = min(MAX_ROOM, limiter.room()) - self.held.transitions
        return max(1, int(room) // self.actors_n)

    def liveness(self) -> dict[str, Liveness]:
        """Return the state of every actor's newest boot, by actor id."""
        return self.accounts.liveness(self._listened_s)

    def checkpoint(self) -> None:
        """Have everything on the disk, and start the journal anew from here.

        Raises:
            OSError: the disk refuses; the journal at hand goes on.
        """
        self._replay.flush()
        self._journal.rotate(
            {
                "spec": self._spec.to_mapping(),
                "inserted": self._replay.inserted,
                "accounts": self.accounts.state_dict(),
                "counters": dict(self.counters),
            }
        )

    def restore(self, recovered: Recovered) -> None:
        """Go on from a journal, as far as the rows it speaks of are there.

        Raises:
            ConfigError: its snapshot makes no sense.
        """
        try:
            self._replay.inserted = recovered.snapshot["inserted"]
            self.accounts.load_state_dict(recovered.snapshot["accounts"])
            self.counters = Counter(recovered.snapshot["counters"])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ConfigError("--resume: the journal's snapshot is damaged") from None
        end = max((entry.start + entry.inserted for entry in recovered.entries), default=0)
        for entry in recovered.entries:
            # Older rows have been overwritten since, as they should: nothing is sampled from their places.
            sampled = entry.start >= end - self._replay.capacity
            if sampled and not self._rows_are_there(entry):
                log.warning("the rows end at transition %d; later ones never reached the disk", entry.start)
                self.counters["torn"] += 1
                break
            self._replay.inserted = entry.start + entry.inserted
            self._credit(self.accounts.open((entry.actor_id, entry.boot_id)), entry)
        self.counters["torn"] += recovered.torn_bytes > 0

    def _rows_are_there(self, entry: Entry) -> bool:
        return entry.rows_crc == zlib.crc32(self._replay.read(entry.start, entry.inserted).data)

    def _dispatch(self, message: Message, now_s: float, size_bytes: int, key: str | None) -> None:
        if not isinstance(message, Batch | Hello | Bye | Evaluation | EvaluationStarted):
            raise ProtocolError("kind", f"{message.kind} is not for a learner")
        require_own(key, message.actor_id)
        if isinstance(message, Evaluation | EvaluationStarted):
            if len(self.evaluations) >= MAX_EVALUATIONS:
                raise ProtocolError("too-many-evaluations", f"{MAX_EVALUATIONS} not yet looked at")
            self.evaluations.append(message)
            return
        if isinstance(message, Hello) and message.role == "evaluator":
            return
        if isinstance(message, Hello) and message.spec != self._spec.to_mapping():
            raise ProtocolError("spec", f"{message.actor_id} has {message.spec}, allowed {self._spec}")
        account = self._open(message.actor_id, message.boot_id, now_s, key)
        if self._quota is not None and not self._quota.admits(message.actor_id, size_bytes, now_s):
            self._refuse("throttled", message.actor_id, ProtocolError("too-fast", "see --max-actor-..."))
        elif isinstance(message, Batch):
            self._hold(message, account)
        else:
            if message.next_seq > account.next_seq:  # it will not come again: what is held of it counts now
                self._take_held(everything=True)
            self._give_up(account, message.next_seq)
            account.left = account.left or isinstance(message, Bye)

    def _give_up(self, account: Account, next_seq: int) -> None:
        """Stop waiting for batches below `next_seq`: no actor keeps them any more."""
        self.counters["lost"] += max(0, next_seq - account.next_seq)
        account.next_seq = max(account.next_seq, next_seq)

    def _open(self, actor_id: str, boot_id: str, now_s: float, key: str | None) -> Account:
        account = self.accounts.open((actor_id, boot_id), key=key, now_s=now_s)
        account.heard_s = now_s
        self._unacknowledged.add((actor_id, boot_id))
        return account

    def _hold(self, batch: Batch, account: Account) -> None:
        """Keep a batch if it is the next one, until the limiter lets it pass."""
        expected = account.next_seq + account.held
        if batch.seq != expected:
            self.counters["duplicates" if batch.seq < expected else "gaps"] += 1
            return
        try:
            self.held.put(batch, account)
        except ProtocolError as error:
            self._refuse("throttled", batch.actor_id, error)
            return
        self._take_held()
        if account.held:
            self._waiting.add((batch.actor_id, batch.boot_id))

    def _take_held(self, *, everything: bool = False) -> None:
        """Take what the limiter lets pass, or everything."""
        limiter = self._limiter
        while self.held and (everything or limiter is None or limiter.may_insert(self.held.next_rows())):
            before = self._replay.inserted
            self._take(*self.held.pop())
            if limiter is not None:
                limiter.inserted(self._replay.inserted - before)

    def _take(self, batch: Batch, account: Account) -> None:
        """Insert the next batch of an account; a malformed one is used up all the same."""
        start, count = self._replay.inserted, len(batch.rows) if batch.rows.ndim else 0
        try:
            self._replay.insert(batch.records(self._spec))
        except ProtocolError as error:
            self._refuse("rejected batches", batch.actor_id, error)
        inserted = self._replay.inserted - start
        entry = Entry(
            batch.actor_id,
            batch.boot_id,
            batch.seq,
            start,
            inserted,
            count - inserted,
            zlib.crc32(batch.rows.data) if inserted else 0,
            batch.produced,
            batch.discarded,
            batch.resent,
        )
        self._journal.append(entry)
        self._credit(account, entry)
        if inserted or not count:
            self.news.episodes.extend(batch.episodes)
            self.lag.arrived(inserted, batch.weights_version, start)

    @staticmethod
    def _credit(account: Account, entry: Entry) -> None:
        account.next_seq = entry.seq + 1
        account.inserted += entry.inserted
        account.rejected += entry.rejected
        account.produced, account.discarded = entry.produced, entry.discarded
        account.resent = entry.resent

    def _refuse(self, what: str, who: str, error: ProtocolError) -> None:
        self.counters[what] += 1
        self.counters[f"{what}: {error.reason}"] += 1
        if (who, error.reason) not in self._logged:
            self._logged.add((who, error.reason))
            log.warning("%s from %s: %s (further ones are only counted)", what, who, error)
