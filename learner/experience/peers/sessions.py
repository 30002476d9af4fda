"""Delivery state of the actors: one session for each process start.

In: what the ingest has taken. Out: totals for the audit, who is alive, and plain values for the journal.
Time is passed in; neither sockets nor files are known here.
"""

import heapq
from collections import Counter
from collections.abc import Mapping
from typing import Any

from graspfleet.common.errors import RefusedError
from graspfleet.common.fields import MAX_STATUS_KEYS
from graspfleet.common.runtime.interval import Interval
from graspfleet.learner.experience.peers.claims import Claims
from graspfleet.learner.experience.peers.closed_sessions import MAX_FORGOTTEN, ClosedSessions
from graspfleet.learner.experience.peers.session import KEPT, TOTALS, Liveness, Sender, Session

MAX_SESSIONS = 100_000
"""Process starts that a run keeps a session of at a time; further ones are refused."""
MAX_SESSIONS_PER_KEY = MAX_SESSIONS // 4
"""The same for those that one key brings while a learner runs."""
KEPT_SESSIONS = 8192
"""With more sessions than this, those of processes that are over are closed: only their sums are kept."""
FORGET_AFTER_S = 3600.0
"""A process that went without a goodbye may come back for so long; after that it may be closed too."""


class Sessions:
    """All sessions of a run.

    Args:
        silent_after_s: seconds of silence after which an actor is late.
        gone_after_s: seconds of silence after which an actor is gone.
        max_actors_per_key: limit of actors alive at a time under one key.
    """

    def __init__(self, *, silent_after_s: float, gone_after_s: float, max_actors_per_key: int = 4096) -> None:
        self._sessions: dict[Sender, Session] = {}
        self._newest: dict[str, Session] = {}
        self._claims = Claims(silent_after_s)
        self._closed = ClosedSessions()
        self._close_above = KEPT_SESSIONS
        self._started_s: float | None = None
        self._silent_after_s = silent_after_s
        self._gone_after_s = gone_after_s
        self._max_actors_per_key = max_actors_per_key
        self._actors: dict[str, set[str]] = {}  # by key: those heard from since this learner started
        self._started: Counter[str] = Counter()  # by key, likewise
        self._remembered: Counter[str] = Counter()  # by key: closed ones that count in `_closed`
        self._count_anew = Interval(1.0)

    def __getitem__(self, sender: Sender) -> Session:
        return self._sessions[sender]

    def __len__(self) -> int:
        return len(self._sessions)

    def empty_copy(self) -> "Sessions":
        """Return sessions with the same limits and nobody in them."""
        return Sessions(
            silent_after_s=self._silent_after_s,
            gone_after_s=self._gone_after_s,
            max_actors_per_key=self._max_actors_per_key,
        )

    def knows(self, actor_id: str) -> bool:
        """Return whether there is a session of any process of an actor."""
        return actor_id in self._newest

    def get(self, sender: Sender) -> Session | None:
        """Return the session of a sender; None without one."""
        return self._sessions.get(sender)

    def hear(self, sender: Sender, *, key: str | None, now_s: float, listened_s: float) -> Session:
        """Return the session of a sender that says something now.

        Args:
            sender: actor and process start.
            key: name of the key that it came with; None in plaintext, where nobody can be told apart.
            now_s: monotonic time.
            listened_s: until when the learner has read everything that arrived.

        Raises:
            RefusedError: see `open`; or the actor's id belongs to another process that lives.
        """
        if self._started_s is None:
            self._started_s = now_s
        if len(self._sessions) > self._close_above:
            self._close_old(listened_s)
        session = self.open(sender, key=key, now_s=now_s)
        try:
            self._claims.speak(*sender, session, now_s, listened_s)
        except RefusedError:
            owner = self._sessions.get((sender[0], self._claims.owner(sender[0]) or ""))
            self._newest[sender[0]] = owner or session
            raise
        session.heard_s = now_s
        return session

    def answer(self, sender: Sender, answer: int) -> None:
        """Note the answer of a sender to a challenge."""
        self._claims.answer(*sender, answer)

    def challenge(self, actor_id: str, now_s: float) -> int:
        """Return what the processes of an actor are to say again now; 0: nothing."""
        return self._claims.challenge(actor_id, now_s)

    def open(self, sender: Sender, *, key: str | None = None, now_s: float = 0.0) -> Session:
        """Return the session of a sender, a new one if it has never been heard of.

        Args:
            sender: actor and process start.
            key: as in `hear`.
            now_s: monotonic time.

        Raises:
            RefusedError: there are as many as allowed already, in all or under this key; or the session has
                been closed, and what it delivered could no longer be told from what is new.
        """
        session = self._sessions.get(sender)
        if session is None:
            if sender in self._closed:
                raise RefusedError(
                    "forgotten",
                    f"silent for over {FORGET_AFTER_S:g} s, its session is closed; start it again",
                )
            if len(self._sessions) >= MAX_SESSIONS:
                raise RefusedError("too-many-sessions", f"the run has {MAX_SESSIONS} process starts")
            if key is not None:
                self._charge(key, sender[0], now_s)
            session = self._sessions[sender] = self._newest[sender[0]] = Session(key=key)
        return session

    def _charge(self, key: str, actor_id: str, now_s: float) -> None:
        """Count one more session under a key, so that a leaked one cannot use up what all keys share."""
        if self._started[key] >= MAX_SESSIONS_PER_KEY:
            raise RefusedError("too-many-sessions", f"{MAX_SESSIONS_PER_KEY} process starts with key {key}")
        actors = self._actors.setdefault(key, set())
        if actor_id not in actors and len(actors) >= self._max_actors_per_key:
            if self._count_anew.due(now_s):
                present = ("alive", "late")
                actors &= {
                    name
                    for name in actors & self._newest.keys()
                    if self._liveness(self._newest[name], now_s) in present
                }
            if len(actors) >= self._max_actors_per_key:
                raise RefusedError(
                    "too-many-actors",
                    f"{self._max_actors_per_key} alive with key {key}; see --max-actors-per-key",
                )
        actors.add(actor_id)
        self._started[key] += 1

    def _close_old(self, listened_s: float) -> None:
        """Close sessions that are over, the longest silent first, down to half of `KEPT_SESSIONS`."""
        assert self._started_s is not None
        over = []
        for sender, session in self._sessions.items():
            heard_s = max(session.heard_s, self._started_s)
            if not session.held and (session.left or listened_s - heard_s > FORGET_AFTER_S):
                over.append((heard_s, sender))
        for _, sender in heapq.nsmallest(len(self._sessions) - KEPT_SESSIONS // 2, over):
            self._close(sender)
        self._close_above = max(KEPT_SESSIONS, len(self._sessions) + KEPT_SESSIONS // 2)

    def _close(self, sender: Sender) -> None:
        """Fold a session into the sums; a process that could still speak is remembered."""
        session = self._sessions[sender]
        key = session.key
        if not session.left and session.next_seq > 0:
            if len(self._closed) >= MAX_FORGOTTEN or self._remembered[key or ""] >= MAX_FORGOTTEN // 4:
                return
            self._closed.remember(sender)
            self._remembered[key or ""] += key is not None
        if key is not None:
            self._started[key] -= 1
        self._closed.totals.update({name: getattr(session, name) for name in TOTALS})
        del self._sessions[sender]
        self._claims.forget(*sender)
        if self._newest.get(sender[0]) is session:
            del self._newest[sender[0]]

    def all_left(self) -> bool:
        """Return whether the newest session of every actor has said goodbye."""
        return all(session.left for session in self._newest.values())

    def totals(self) -> dict[str, int]:
        """Return the sums over all sessions of everything in `TOTALS`."""
        return {
            name: sum(
                (getattr(session, name) for session in self._sessions.values()), self._closed.totals[name]
            )
            for name in TOTALS
        }

    def liveness(self, now_s: float) -> dict[str, Liveness]:
        """Return the state of every actor's newest session; at most `MAX_STATUS_KEYS`, those heard last.

        Args:
            now_s: until when the learner has listened. Silence counts only while somebody listens.
        """
        newest = self._newest.items()
        if len(newest) > MAX_STATUS_KEYS:
            newest = dict(heapq.nlargest(MAX_STATUS_KEYS, newest, key=lambda item: item[1].heard_s)).items()
        return {actor_id: self._liveness(session, now_s) for actor_id, session in newest}

    def _liveness(self, session: Session, now_s: float) -> Liveness:
        if session.left:
            return "left"
        if session.heard_s == float("-inf"):
            return "gone"
        silent_s = now_s - session.heard_s
        if silent_s > self._gone_after_s:
            return "gone"
        return "late" if silent_s > self._silent_after_s else "alive"

    def state_dict(self) -> dict[str, Any]:
        """Return every session, and what is left of closed ones, as plain values."""
        kept = {
            " ".join(sender): [getattr(session, name) for name in KEPT]
            for sender, session in self._sessions.items()
        }
        return {"kept": kept, "forgotten": self._closed.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`; its actors count as gone until they are heard again."""
        self._closed.load_state_dict(state["forgotten"])
        for name, values in state["kept"].items():
            actor_id, session_id = name.split(" ")
            session = Session(**dict(zip(KEPT, values, strict=True)))
            self._sessions[actor_id, session_id] = self._newest[actor_id] = session
