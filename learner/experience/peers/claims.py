"""Ownership of actor ids: tells two live processes with one id apart from a process that was restarted.

In: senders, their answers to challenges, and times. Out: challenges for the acknowledgements, and a refusal
of the later of two live processes. Time is passed in; no sockets here.
"""

import secrets
from dataclasses import dataclass, field
from typing import Protocol

from graspfleet.common.errors import RefusedError

_NUM_CHALLENGES = (1 << 45) - 1


class Heard(Protocol):
    """State of one process that claims an id.

    Attributes:
        heard_s: monotonic time of its last message, in seconds.
        left: whether it said goodbye.
    """

    heard_s: float
    left: bool


@dataclass
class Contest:
    """Two processes that claim one id; messages of a dead one may still arrive after its successor's.

    Attributes:
        challenge: random number that only a process alive now can send back.
        ends_s: monotonic time, in seconds, by which every live process has answered.
        answered: session ids of the processes that have answered.
    """

    challenge: int
    ends_s: float
    answered: set[str] = field(default_factory=set)


class Claims:
    """Owners of the actor ids.

    The first process to use an id owns it until it leaves or falls silent; the next process that uses the id
    then takes it over. Messages of both are accepted in the meantime, so a restarted actor need not wait
    until its predecessor counts as silent. The later process is refused only after both have answered a
    challenge, which no message sent earlier can do.

    Args:
        silent_after_s: seconds of silence after which another process may take the id over.
    """

    def __init__(self, silent_after_s: float) -> None:
        self._silent_after_s = silent_after_s
        self._owners: dict[str, tuple[str, Heard]] = {}
        self._contests: dict[str, Contest] = {}

    def speak(self, actor_id: str, session_id: str, process: Heard, now_s: float, listened_s: float) -> None:
        """Record that a process uses an id; call before updating `process.heard_s`.

        Args:
            actor_id: the id.
            session_id: session id of the process.
            process: state of the process.
            now_s: monotonic time, in seconds.
            listened_s: monotonic time when the socket was last read empty; silence is measured up to then.

        Raises:
            RefusedError: the id belongs to another live process.
        """
        owner = self._owners.get(actor_id)
        if owner is not None and owner[1] is process:
            return
        if owner is None or owner[1].left or listened_s - owner[1].heard_s > self._silent_after_s:
            self._owners[actor_id] = session_id, process
            self._contests.pop(actor_id, None)
            return
        contest = self._contests.get(actor_id)
        if contest is None or now_s >= contest.ends_s:
            challenge = 1 + secrets.randbelow(_NUM_CHALLENGES)
            contest = self._contests[actor_id] = Contest(challenge, now_s + self._silent_after_s)
        if {owner[0], session_id} <= contest.answered:
            raise RefusedError(
                "duplicate-id",
                f"another live process already uses the id {actor_id};"
                " allowed: a unique --actor-id, or none to get a generated one",
            )

    def owner(self, actor_id: str) -> str | None:
        """Return the session id of an id's owner; None without one."""
        owner = self._owners.get(actor_id)
        return None if owner is None else owner[0]

    def challenge(self, actor_id: str, now_s: float) -> int:
        """Return the challenge that processes with this id have to answer; 0 for none."""
        contest = self._contests.get(actor_id)
        if contest is not None and now_s >= contest.ends_s:
            del self._contests[actor_id]
            return 0
        return 0 if contest is None else contest.challenge

    def answer(self, actor_id: str, session_id: str, answer: int) -> None:
        """Record an answer to a challenge; an answer to an expired one has no effect."""
        contest = self._contests.get(actor_id)
        if contest is not None and answer == contest.challenge:
            contest.answered.add(session_id)

    def forget(self, actor_id: str, session_id: str) -> None:
        """Drop a process whose session was closed."""
        if self.owner(actor_id) == session_id:
            del self._owners[actor_id]
            self._contests.pop(actor_id, None)
