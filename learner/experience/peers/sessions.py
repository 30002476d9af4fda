"""Delivery state of the actors: one session for each start of a process.

In: the messages that the ingest takes. Out: totals for the audit, the liveness of each actor, and plain
values for the journal. Time is passed in; no sockets or files here.
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
from graspfleet.learner.experience.peers.frame_window import FrameWindow
from graspfleet.learner.experience.peers.session import KEPT, TOTALS, Liveness, Sender, Session

MAX_SESSIONS = 100_000
"""Largest number of sessions kept by a run; further ones are refused."""
MAX_SESSIONS_PER_KEY = MAX_SESSIONS // 4
"""Largest number of sessions opened under one key while a learner runs."""
KEPT_SESSIONS = 8192
"""Number of sessions above which those of finished processes are closed; only their sums are kept."""
FORGET_AFTER_S = 3600.0
"""Seconds of silence after which the session of a process that said no goodbye may be closed."""


class Sessions:
    """All sessions of a run.

    Args:
        silent_after_s: seconds of silence after which an actor is late.
        gone_after_s: seconds of silence after which an actor is gone.
        max_actors_per_key: largest number of actors alive at the same time under one key.
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
        self._actors: dict[str, set[str]] = {}  # by key: actor ids heard since this learner started
        self._started: Counter[str] = Counter()  # by key: sessions opened since this learner started
        self._remembered: Counter[str] = Counter()  # by key: closed sessions with a digest in `_closed`
        self._count_anew = Interval(1.0)

    def __getitem__(self, sender: Sender) -> Session:
        return self._sessions[sender]

    def __len__(self) -> int:
        return len(self._sessions)

    def empty_copy(self) -> "Sessions":
        """Return an empty collection with the same limits."""
        return Sessions(
            silent_after_s=self._silent_after_s,
            gone_after_s=self._gone_after_s,
            max_actors_per_key=self._max_actors_per_key,
        )

    def knows(self, actor_id: str) -> bool:
        """Return whether an actor has a session."""
        return actor_id in self._newest

    def get(self, sender: Sender) -> Session | None:
        """Return the session of a sender, or None."""
        return self._sessions.get(sender)

    def hear(self, sender: Sender, *, key: str | None, now_s: float, listened_s: float) -> Session:
        """Return the session of a sender whose message has arrived, and record the time.

        Args:
            sender: actor id and session id.
            key: name of the key that the message came with; None in plaintext, where limits per key do not
                apply.
            now_s: monotonic time, in seconds.
            listened_s: monotonic time when the socket was last read empty.

        Raises:
            RefusedError: see `open`; or the actor id belongs to another live process.
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
        """Record a sender's answer to a challenge."""
        self._claims.answer(*sender, answer)

    def challenge(self, actor_id: str, now_s: float) -> int:
        """Return the challenge that processes with this actor id have to answer; 0 for none."""
        return self._claims.challenge(actor_id, now_s)

    def open(self, sender: Sender, *, key: str | None = None, now_s: float = 0.0) -> Session:
        """Return the session of a sender; open a new one for an unknown sender.

        Args:
            sender: actor id and session id.
            key: as in `hear`.
            now_s: monotonic time, in seconds.

        Raises:
            RefusedError: the limit is reached, in total or for this key; or the session was closed, so that
                batches already delivered can no longer be recognized.
        """
        session = self._sessions.get(sender)
        if session is None:
            if sender in self._closed:
                raise RefusedError(
                    "forgotten",
                    f"its session was closed after more than {FORGET_AFTER_S:g} s of silence; restart it",
                )
            if len(self._sessions) >= MAX_SESSIONS:
                raise RefusedError("too-many-sessions", f"the run already has {MAX_SESSIONS} sessions")
            if key is not None:
                self._charge(key, sender[0], now_s)
            session = self._sessions[sender] = self._newest[sender[0]] = Session(key=key)
        return session

    def _charge(self, key: str, actor_id: str, now_s: float) -> None:
        """Count a new session under a key, so that a leaked key cannot use up the total."""
        if self._started[key] >= MAX_SESSIONS_PER_KEY:
            raise RefusedError("too-many-sessions", f"key {key} already has {MAX_SESSIONS_PER_KEY} sessions")
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
                    f"key {key} already has {self._max_actors_per_key} live actors; see --max-actors-per-key",
                )
        actors.add(actor_id)
        self._started[key] += 1

    def _close_old(self, listened_s: float) -> None:
        """Close finished sessions, longest silent first, down to half of `KEPT_SESSIONS`."""
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
        """Fold a session into the sums; keep a digest if its process might still send."""
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
        """Return the sum of each field in `TOTALS` over all sessions."""
        return {
            name: sum(
                (getattr(session, name) for session in self._sessions.values()), self._closed.totals[name]
            )
            for name in TOTALS
        }

    def liveness(self, now_s: float) -> dict[str, Liveness]:
        """Return the state of each actor's newest session, for the `MAX_STATUS_KEYS` heard most recently.

        Args:
            now_s: monotonic time when the socket was last read empty; silence is measured up to then.
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
        """Return all sessions, and the sums and digests of closed ones, as plain values."""
        kept = {
            " ".join(sender): [*(getattr(session, name) for name in KEPT), session.frames.ranges]
            for sender, session in self._sessions.items()
        }
        return {"kept": kept, "forgotten": self._closed.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`; actors count as gone until their next message."""
        self._closed.load_state_dict(state["forgotten"])
        for name, values in state["kept"].items():
            actor_id, session_id = name.split(" ")
            *plain, ranges = values
            session = Session(**dict(zip(KEPT, plain, strict=True)), frames=FrameWindow(ranges))
            self._sessions[actor_id, session_id] = self._newest[actor_id] = session
