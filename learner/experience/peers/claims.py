"""Which process speaks for each actor id: two that live at a time are told from one that started again.

In: who has spoken, what was answered, when. Out: challenges for the acknowledgements, and a refusal for the
later one of two that live. Time is passed in; no socket is known here.
"""

import secrets
from dataclasses import dataclass, field
from typing import Protocol

from graspfleet.common.errors import RefusedError

_NUM_CHALLENGES = (1 << 45) - 1


class Heard(Protocol):
    """State of one process that claims an id.

    Attributes:
        heard_s: when it was last heard, monotonic.
        left: whether it said goodbye.
    """

    heard_s: float
    left: bool


@dataclass
class Contest:
    """Two processes have spoken for one id; what a dead one has sent may still come in after its successor.

    Attributes:
        challenge: what only a process that lives now can say again.
        ends_s: monotonic; by then whoever lives has answered.
        answered: session ids of those that have.
    """

    challenge: int
    ends_s: float
    answered: set[str] = field(default_factory=set)


class Claims:
    """Owners of the actor ids.

    The first to speak owns an id for as long as it is heard; whoever speaks after it has left or fallen
    silent is its successor and owns it from then on. Everybody is listened to meanwhile, so that a restarted
    actor need not wait for its predecessor's silence. Only when both have answered a challenge, which
    nothing that was sent before can do, the one that is not the owner is refused.

    Args:
        silent_after_s: an owner silent for so long may be succeeded.
    """

    def __init__(self, silent_after_s: float) -> None:
        self._silent_after_s = silent_after_s
        self._owners: dict[str, tuple[str, Heard]] = {}
        self._contests: dict[str, Contest] = {}

    def speak(self, actor_id: str, session_id: str, process: Heard, now_s: float, listened_s: float) -> None:
        """Note that a process speaks for an id, before `process.heard_s` is moved on.

        Args:
            actor_id: the id.
            session_id: of the process.
            process: what is known of it.
            now_s: monotonic time.
            listened_s: until when everything that had arrived was read; silence counts only until then.

        Raises:
            RefusedError: the id belongs to another process that lives.
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
                f"another process that lives is called {actor_id};"
                " allowed: an --actor-id of its own, or none, and one is made up",
            )

    def owner(self, actor_id: str) -> str | None:
        """Return the session id of the process that an id belongs to."""
        owner = self._owners.get(actor_id)
        return None if owner is None else owner[0]

    def challenge(self, actor_id: str, now_s: float) -> int:
        """Return what the processes of an id are to say again now; 0: nothing."""
        contest = self._contests.get(actor_id)
        if contest is not None and now_s >= contest.ends_s:
            del self._contests[actor_id]
            return 0
        return 0 if contest is None else contest.challenge

    def answer(self, actor_id: str, session_id: str, answer: int) -> None:
        """Note what a process said in answer to a challenge; one that is over changes nothing."""
        contest = self._contests.get(actor_id)
        if contest is not None and answer == contest.challenge:
            contest.answered.add(session_id)

    def forget(self, actor_id: str, session_id: str) -> None:
        """Drop a process that will not be heard again."""
        if self.owner(actor_id) == session_id:
            del self._owners[actor_id]
            self._contests.pop(actor_id, None)
