"""Checks, de-duplicates and accounts for everything that peers send (go-back-N, receiver side).

In: frames. Out: rows in the replay, and per actor what to acknowledge. Whatever a peer sends, it can
neither stop the learner nor touch another actor's account. Time is passed in; no socket is opened here.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from common.errors import ProtocolError
from common.protocol import Ack, Batch, Buffer, Bye, Episode, Evaluation, Hello, Message, decode
from common.specs import EnvSpec
from learner.replay import Replay

log = logging.getLogger(__name__)

MAX_BOOTS = 100_000
"""Process starts that one learner keeps account of; batches of further ones are dropped and counted."""

Liveness = Literal["alive", "late", "gone", "left"]


@dataclass
class Account:
    """What one boot of one actor has delivered.

    Attributes:
        next_seq: the only batch that is taken next.
        produced: transitions that it says it made, up to its last batch.
        inserted: transitions of it in the replay.
        rejected: transitions of it that were malformed.
    """

    next_seq: int = 0
    produced: int = 0
    inserted: int = 0
    rejected: int = 0
    discarded: int = 0
    heard_s: float = 0.0
    left: bool = False


@dataclass
class News:
    """What has come in since the last look."""

    episodes: list[Episode] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    lag_sum: int = 0
    lag_n: int = 0


class Ingest:
    """The learner's half of the delivery guarantee.

    Args:
        spec: what a transition looks like; everything else is refused.
        replay: where transitions go.
        silent_after_s: an actor silent for so long is late.
        gone_after_s: an actor silent for so long is gone.

    Attributes:
        accounts: by (actor_id, boot_id).
        counters: duplicates, gaps, lost and malformed batches, and rejections by reason.
        news: what the loop has not yet looked at.
        weights_version: newest version published, for the lag.
    """

    def __init__(self, spec: EnvSpec, replay: Replay, *, silent_after_s: float, gone_after_s: float) -> None:
        self.accounts: dict[tuple[str, str], Account] = {}
        self.counters: Counter[str] = Counter()
        self.news = News()
        self.weights_version = 0
        self._spec = spec
        self._replay = replay
        self._silent_after_s = silent_after_s
        self._gone_after_s = gone_after_s
        self._newest_boot: dict[str, str] = {}
        self._unacknowledged: set[tuple[str, str]] = set()
        self._logged: set[tuple[str, str]] = set()

    def drain(self, receive: Callable[[], Buffer | None], at_most: int, now_s: float) -> int:
        """Take in up to `at_most` frames that have arrived; return the transitions inserted."""
        before = self._replay.inserted
        for _ in range(at_most):
            frame = receive()
            if frame is None:
                break
            self.accept(frame, now_s)
        return self._replay.inserted - before

    def accept(self, frame: Buffer, now_s: float) -> None:
        """Take in one frame, whatever is in it."""
        try:
            message = decode(frame)
            self._dispatch(message, now_s)
        except ProtocolError as error:
            self._refuse("malformed", "some peer", error)

    def take_news(self) -> News:
        """Return what has come in since the last call."""
        news, self.news = self.news, News()
        return news

    def acknowledgements(self) -> list[tuple[str, Ack]]:
        """Return (actor_id, message) for every actor that has sent something since the last call."""
        due = [
            (actor_id, Ack(boot_id=boot_id, next_seq=self.accounts[actor_id, boot_id].next_seq))
            for actor_id, boot_id in self._unacknowledged
        ]
        self._unacknowledged.clear()
        return due

    def liveness(self, now_s: float) -> dict[str, Liveness]:
        """Return the state of every actor's newest boot, by actor id."""
        return {
            actor: self._liveness(self.accounts[actor, boot], now_s)
            for actor, boot in self._newest_boot.items()
        }

    def totals(self) -> dict[str, int]:
        """Return produced, inserted, rejected and discarded over all boots."""
        names = ("produced", "inserted", "rejected", "discarded")
        return {name: sum(getattr(account, name) for account in self.accounts.values()) for name in names}

    def _dispatch(self, message: Message, now_s: float) -> None:
        if isinstance(message, Batch):
            account = self._account(message.actor_id, message.boot_id, now_s)
            self._take(message, account)
        elif isinstance(message, Hello):
            if message.spec != self._spec.to_mapping():
                raise ProtocolError("spec", f"{message.actor_id} has {message.spec}, allowed {self._spec}")
            account = self._account(message.actor_id, message.boot_id, now_s)
            # Batches below next_seq were acknowledged once and are kept by nobody any more.
            self.counters["lost"] += max(0, message.next_seq - account.next_seq)
            account.next_seq = max(account.next_seq, message.next_seq)
        elif isinstance(message, Bye):
            account = self._account(message.actor_id, message.boot_id, now_s)
            account.left = account.next_seq >= message.next_seq
        elif isinstance(message, Evaluation):
            self.news.evaluations.append(message)
        else:
            raise ProtocolError("kind", f"{message.kind} is not for a learner")

    def _account(self, actor_id: str, boot_id: str, now_s: float) -> Account:
        key = (actor_id, boot_id)
        account = self.accounts.get(key)
        if account is None:
            if len(self.accounts) >= MAX_BOOTS:
                raise ProtocolError("too-many-boots", f"{MAX_BOOTS}")
            account = self.accounts[key] = Account()
            self._newest_boot[actor_id] = boot_id
        account.heard_s = now_s
        self._unacknowledged.add(key)
        return account

    def _take(self, batch: Batch, account: Account) -> None:
        """Insert a batch if it is the next one; a malformed one is used up all the same."""
        if batch.seq != account.next_seq:
            self.counters["duplicates" if batch.seq < account.next_seq else "gaps"] += 1
            return
        count = len(batch.rows) if batch.rows.ndim else 0
        try:
            records = batch.records(self._spec)
            if count > self._replay.capacity:
                raise ProtocolError("too-long", f"{count} transitions, allowed {self._replay.capacity}")
            self._replay.insert(records)
            account.inserted += count
            self.news.episodes.extend(batch.episodes)
            self.news.lag_sum += count * max(0, self.weights_version - batch.weights_version)
            self.news.lag_n += count
        except ProtocolError as error:
            self._refuse("rejected batches", batch.actor_id, error)
            account.rejected += count
        account.next_seq += 1
        account.produced = batch.produced
        account.discarded = batch.discarded

    def _refuse(self, what: str, who: str, error: ProtocolError) -> None:
        self.counters[what] += 1
        self.counters[f"{what}: {error.reason}"] += 1
        if (who, error.reason) not in self._logged:
            self._logged.add((who, error.reason))
            log.warning("%s from %s: %s (further ones are only counted)", what, who, error)

    def _liveness(self, account: Account, now_s: float) -> Liveness:
        if account.left:
            return "left"
        silent_s = now_s - account.heard_s
        if silent_s > self._gone_after_s:
            return "gone"
        return "late" if silent_s > self._silent_after_s else "alive"

    def state_dict(self) -> dict[str, object]:
        """Return the accounts and counters, as plain values."""
        accounts = {" ".join(key): vars(account).copy() for key, account in self.accounts.items()}
        return {"accounts": accounts, "counters": dict(self.counters)}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from `state_dict()`; its actors count as gone until they are heard again."""
        accounts, counters = state["accounts"], state["counters"]
        assert isinstance(accounts, dict)
        assert isinstance(counters, dict)
        for name, values in accounts.items():
            actor_id, boot_id = name.split(" ")
            self.accounts[actor_id, boot_id] = Account(**{**values, "heard_s": float("-inf")})
            self._newest_boot[actor_id] = boot_id
        self.counters = Counter(counters)
