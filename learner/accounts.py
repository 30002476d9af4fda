"""Who delivered what: one account for each process start ("boot") of each actor.

In: what the ingest has taken. Out: totals for the audit, who is alive, and plain values for the journal.
Time is passed in; neither sockets nor files are known here.
"""

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from common.errors import ProtocolError
from common.interval import Interval
from common.messages import MAX_STATUS_KEYS

MAX_BOOTS = 100_000
"""Process starts that one run keeps account of; batches of further ones are dropped and counted."""

MAX_BOOTS_PER_KEY = MAX_BOOTS // 4
"""The same for those that one key brings while a learner runs."""

Liveness = Literal["alive", "late", "gone", "left"]
Boot = tuple[str, str]
"""(actor_id, boot_id)."""


@dataclass
class Account:
    """What one boot of one actor has delivered.

    Attributes:
        next_seq: the only batch that is taken next.
        produced: transitions that it says it made, up to its last batch taken.
        inserted: transitions of it in the replay.
        rejected: transitions of it that were malformed.
        discarded: env steps that it threw away itself.
        resent: batches that it sent again.
        heard_s: when it was last heard, monotonic; minus infinity: not since this learner started.
        left: whether it said goodbye.
        held: its batches from `next_seq` on that wait for the rate limiter.
        held_bytes: their size.
    """

    next_seq: int = 0
    produced: int = 0
    inserted: int = 0
    rejected: int = 0
    discarded: int = 0
    resent: int = 0
    heard_s: float = float("-inf")
    left: bool = False
    held: int = 0
    held_bytes: int = 0


TOTALS = ("produced", "inserted", "rejected", "discarded", "resent")
_TRANSIENT = {"heard_s", "held", "held_bytes"}
_KEPT = [field.name for field in fields(Account) if field.name not in _TRANSIENT]


class Accounts:
    """All accounts of a run.

    Args:
        silent_after_s: an actor silent for so long is late.
        gone_after_s: an actor silent for so long is gone.
        actors_per_key_n: alive at a time under one key at the most.
    """

    def __init__(self, *, silent_after_s: float, gone_after_s: float, actors_per_key_n: int = 4096) -> None:
        self._accounts: dict[Boot, Account] = {}
        self._newest: dict[str, Account] = {}
        self._silent_after_s = silent_after_s
        self._gone_after_s = gone_after_s
        self._actors_per_key_n = actors_per_key_n
        self._actors: dict[str, set[str]] = {}  # by key: those heard from since this learner started
        self._boots: Counter[str] = Counter()  # by key, likewise
        self._count_anew = Interval(1.0)

    def __getitem__(self, boot: Boot) -> Account:
        return self._accounts[boot]

    def __len__(self) -> int:
        return len(self._accounts)

    def open(self, boot: Boot, *, key: str | None = None, now_s: float = 0.0) -> Account:
        """Return a boot's account, a new one for a boot never heard of.

        Args:
            boot: of which actor.
            key: name of the key that it came with; None in plaintext, where nobody can be told apart.
            now_s: monotonic time.

        Raises:
            ProtocolError: there are as many as allowed already, in all or under this key.
        """
        account = self._accounts.get(boot)
        if account is None:
            if len(self._accounts) >= MAX_BOOTS:
                raise ProtocolError("too-many-boots", f"{MAX_BOOTS}")
            if key is not None:
                self._charge(key, boot[0], now_s)
            account = self._accounts[boot] = self._newest[boot[0]] = Account()
        return account

    def _charge(self, key: str, actor_id: str, now_s: float) -> None:
        """Count one more boot under a key, so that a leaked one cannot use up what all keys share."""
        if self._boots[key] >= MAX_BOOTS_PER_KEY:
            raise ProtocolError("too-many-boots", f"{MAX_BOOTS_PER_KEY} with key {key}")
        actors = self._actors.setdefault(key, set())
        if actor_id not in actors and len(actors) >= self._actors_per_key_n:
            if self._count_anew.due(now_s):
                present = ("alive", "late")
                actors &= {name for name in actors if self._liveness(self._newest[name], now_s) in present}
            if len(actors) >= self._actors_per_key_n:
                raise ProtocolError("too-many-actors", f"{self._actors_per_key_n} with key {key}")
        actors.add(actor_id)
        self._boots[key] += 1

    def all_left(self) -> bool:
        """Return whether the newest boot of every actor has said goodbye."""
        return all(account.left for account in self._newest.values())

    def totals(self) -> dict[str, int]:
        """Return the sums over all boots of everything in `TOTALS`."""
        return {name: sum(getattr(account, name) for account in self._accounts.values()) for name in TOTALS}

    def liveness(self, now_s: float) -> dict[str, Liveness]:
        """Return the state of every actor's newest boot; at most `MAX_STATUS_KEYS`, those heard last.

        Args:
            now_s: until when the learner has listened. Silence counts only while somebody listens.
        """
        newest = self._newest.items()
        if len(newest) > MAX_STATUS_KEYS:
            newest = dict(heapq.nlargest(MAX_STATUS_KEYS, newest, key=lambda item: item[1].heard_s)).items()
        return {actor_id: self._liveness(account, now_s) for actor_id, account in newest}

    def _liveness(self, account: Account, now_s: float) -> Liveness:
        if account.left:
            return "left"
        if account.heard_s == float("-inf"):
            return "gone"
        silent_s = now_s - account.heard_s
        if silent_s > self._gone_after_s:
            return "gone"
        return "late" if silent_s > self._silent_after_s else "alive"

    def state_dict(self) -> dict[str, Any]:
        """Return every account as plain values."""
        return {
            " ".join(boot): [getattr(account, name) for name in _KEPT]
            for boot, account in self._accounts.items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`; its actors count as gone until they are heard again."""
        for name, values in state.items():
            actor_id, boot_id = name.split(" ")
            account = Account(**dict(zip(_KEPT, values, strict=True)))
            self._accounts[actor_id, boot_id] = self._newest[actor_id] = account
