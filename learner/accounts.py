"""Who delivered what: one account for each process start ("boot") of each actor.

In: what the ingest has taken. Out: totals for the audit, who is alive, and plain values for the journal.
Time is passed in; neither sockets nor files are known here.
"""

import heapq
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from common.errors import RefusedError
from common.interval import Interval
from common.messages import MAX_STATUS_KEYS
from learner.claims import Claims
from learner.forgotten import MAX_FORGOTTEN, Forgotten

MAX_BOOTS = 100_000
"""Process starts that a run keeps an account of at a time; further ones are refused."""
MAX_BOOTS_PER_KEY = MAX_BOOTS // 4
"""The same for those that one key brings while a learner runs."""
KEPT_N = 8192
"""With more accounts than this, those of processes that are over are closed: only their sums are kept."""
FORGET_AFTER_S = 3600.0
"""A process that went without a goodbye may come back for so long; after that it may be closed too."""

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
        key: name of the key that it came with to this learner; None: in plaintext, or to an earlier one.
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
    key: str | None = None


TOTALS = ("produced", "inserted", "rejected", "discarded", "resent")
_TRANSIENT = {"heard_s", "held", "held_bytes", "key"}
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
        self._claims = Claims(silent_after_s)
        self._forgotten = Forgotten()
        self._close_above_n = KEPT_N
        self._started_s: float | None = None
        self._silent_after_s = silent_after_s
        self._gone_after_s = gone_after_s
        self._actors_per_key_n = actors_per_key_n
        self._actors: dict[str, set[str]] = {}  # by key: those heard from since this learner started
        self._boots: Counter[str] = Counter()  # by key, likewise
        self._remembered: Counter[str] = Counter()  # by key: closed ones that count in `_forgotten`
        self._count_anew = Interval(1.0)

    def __getitem__(self, boot: Boot) -> Account:
        return self._accounts[boot]

    def __len__(self) -> int:
        return len(self._accounts)

    def empty_copy(self) -> "Accounts":
        """Return accounts with the same limits and nobody in them."""
        return Accounts(
            silent_after_s=self._silent_after_s,
            gone_after_s=self._gone_after_s,
            actors_per_key_n=self._actors_per_key_n,
        )

    def knows(self, actor_id: str) -> bool:
        """Return whether there is an account of any process of an actor."""
        return actor_id in self._newest

    def get(self, boot: Boot) -> Account | None:
        """Return a boot's account, if it has one."""
        return self._accounts.get(boot)

    def hear(self, boot: Boot, *, key: str | None, now_s: float, listened_s: float) -> Account:
        """Return the account of a boot that says something now.

        Args:
            boot: of which actor.
            key: name of the key that it came with; None in plaintext, where nobody can be told apart.
            now_s: monotonic time.
            listened_s: until when the learner has read everything that arrived.

        Raises:
            RefusedError: see `open`; or the actor's id belongs to another process that lives.
        """
        if self._started_s is None:
            self._started_s = now_s
        if len(self._accounts) > self._close_above_n:
            self._close_old(listened_s)
        account = self.open(boot, key=key, now_s=now_s)
        try:
            self._claims.speak(*boot, account, now_s, listened_s)
        except RefusedError:
            owner = self._accounts.get((boot[0], self._claims.owner(boot[0]) or ""))
            self._newest[boot[0]] = owner or account
            raise
        account.heard_s = now_s
        return account

    def answer(self, boot: Boot, answer: int) -> None:
        """Note what a boot said in answer to a challenge."""
        self._claims.answer(*boot, answer)

    def challenge(self, actor_id: str, now_s: float) -> int:
        """Return what the processes of an actor are to say again now; 0: nothing."""
        return self._claims.challenge(actor_id, now_s)

    def open(self, boot: Boot, *, key: str | None = None, now_s: float = 0.0) -> Account:
        """Return a boot's account, a new one for a boot never heard of.

        Args:
            boot: of which actor.
            key: as in `hear`.
            now_s: monotonic time.

        Raises:
            RefusedError: there are as many as allowed already, in all or under this key; or the account has
                been closed, and what it delivered could no longer be told from what is new.
        """
        account = self._accounts.get(boot)
        if account is None:
            if boot in self._forgotten:
                raise RefusedError(
                    "forgotten",
                    f"silent for over {FORGET_AFTER_S:g} s, its account is closed; start it again",
                )
            if len(self._accounts) >= MAX_BOOTS:
                raise RefusedError("too-many-boots", f"the run has {MAX_BOOTS} process starts")
            if key is not None:
                self._charge(key, boot[0], now_s)
            account = self._accounts[boot] = self._newest[boot[0]] = Account(key=key)
        return account

    def _charge(self, key: str, actor_id: str, now_s: float) -> None:
        """Count one more boot under a key, so that a leaked one cannot use up what all keys share."""
        if self._boots[key] >= MAX_BOOTS_PER_KEY:
            raise RefusedError("too-many-boots", f"{MAX_BOOTS_PER_KEY} process starts with key {key}")
        actors = self._actors.setdefault(key, set())
        if actor_id not in actors and len(actors) >= self._actors_per_key_n:
            if self._count_anew.due(now_s):
                present = ("alive", "late")
                actors &= {
                    name
                    for name in actors & self._newest.keys()
                    if self._liveness(self._newest[name], now_s) in present
                }
            if len(actors) >= self._actors_per_key_n:
                raise RefusedError(
                    "too-many-actors",
                    f"{self._actors_per_key_n} alive with key {key}; see --max-actors-per-key-n",
                )
        actors.add(actor_id)
        self._boots[key] += 1

    def _close_old(self, listened_s: float) -> None:
        """Close accounts of processes that are over, the longest silent first, down to half of `KEPT_N`."""
        assert self._started_s is not None
        over = []
        for boot, account in self._accounts.items():
            heard_s = max(account.heard_s, self._started_s)
            if not account.held and (account.left or listened_s - heard_s > FORGET_AFTER_S):
                over.append((heard_s, boot))
        for _, boot in heapq.nsmallest(len(self._accounts) - KEPT_N // 2, over):
            self._close(boot)
        self._close_above_n = max(KEPT_N, len(self._accounts) + KEPT_N // 2)

    def _close(self, boot: Boot) -> None:
        """Fold an account into the sums; a process that could still speak is remembered."""
        account = self._accounts[boot]
        key = account.key
        if not account.left and account.next_seq > 0:
            if len(self._forgotten) >= MAX_FORGOTTEN or self._remembered[key or ""] >= MAX_FORGOTTEN // 4:
                return
            self._forgotten.remember(boot)
            self._remembered[key or ""] += key is not None
        if key is not None:
            self._boots[key] -= 1
        self._forgotten.totals.update({name: getattr(account, name) for name in TOTALS})
        del self._accounts[boot]
        self._claims.forget(*boot)
        if self._newest.get(boot[0]) is account:
            del self._newest[boot[0]]

    def all_left(self) -> bool:
        """Return whether the newest boot of every actor has said goodbye."""
        return all(account.left for account in self._newest.values())

    def totals(self) -> dict[str, int]:
        """Return the sums over all boots of everything in `TOTALS`."""
        return {
            name: sum(
                (getattr(account, name) for account in self._accounts.values()), self._forgotten.totals[name]
            )
            for name in TOTALS
        }

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
        """Return every account, and what is left of closed ones, as plain values."""
        kept = {
            " ".join(boot): [getattr(account, name) for name in _KEPT]
            for boot, account in self._accounts.items()
        }
        return {"kept": kept, "forgotten": self._forgotten.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`; its actors count as gone until they are heard again."""
        self._forgotten.load_state_dict(state["forgotten"])
        for name, values in state["kept"].items():
            actor_id, boot_id = name.split(" ")
            account = Account(**dict(zip(_KEPT, values, strict=True)))
            self._accounts[actor_id, boot_id] = self._newest[actor_id] = account
