"""Refused peers, the reasons, and the times of repeated refusals. Must not know: clocks, sockets."""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from graspfleet.common.errors import RefusedError
from graspfleet.common.fields import MAX_REFUSED_SHOWN, Role, State, to_line
from graspfleet.common.messages import Batch, Bye, Evaluation, EvaluationStarted, Hello
from graspfleet.learner.experience.peers.throttle import Throttle

log = logging.getLogger(__name__)

REPEAT_AFTER_S = 1.0
"""Shortest time in seconds between two refusals sent to one process."""
MAX_PER_S = 100.0
"""Largest number of refusals per second sent to the holders of one key."""
MAX_REMEMBERED = 4096
"""Number of refused processes remembered, so that they are counted and logged only once."""
MAX_LOGGED = 1000
"""Largest number of log lines, so that no peer can fill the disk."""

Heard = Batch | Hello | Bye | Evaluation | EvaluationStarted
"""Messages that a learner accepts."""
_Process = tuple[str, str]
"""(actor_id, session_id)."""


class Peer(NamedTuple):
    """The sender of a message.

    Attributes:
        key: name of the key that the message came with; None in plaintext.
    """

    actor_id: str
    session_id: str
    role: Role
    key: str | None

    @classmethod
    def of(cls, message: Heard, key: str | None) -> "Peer":
        """Return the sender that a message names."""
        return cls(message.actor_id, message.session_id, role_of(message), key)


class Notice(NamedTuple):
    """One refusal to send."""

    peer: Peer
    reason: str
    detail: str


class Peers(NamedTuple):
    """The peers that a status lists, by id: states, and reasons for refusals."""

    actors: dict[str, State]
    evaluators: dict[str, State]
    refused: dict[str, str]


class Refusals:
    """Processes that were refused.

    Attributes:
        count: processes refused so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._told_s: OrderedDict[_Process, float] = OrderedDict()
        self._shown: OrderedDict[str, tuple[Role, str]] = OrderedDict()  # by id: role and why
        self._due: list[Notice] = []
        self._throttle = Throttle(MAX_PER_S, float("inf"))

    def refuse(self, peer: Peer, error: RefusedError, now_s: float) -> None:
        """Refuse a process: notify it at once, and again if it keeps sending."""
        process, line = peer[:2], to_line(str(error))
        told_s = self._told_s.pop(process, None)
        if told_s is None:
            self.count += 1
            self._show(peer, line)
        if told_s is None or now_s - told_s >= REPEAT_AFTER_S:
            if self._throttle.admits(peer.key or "", 0, now_s):
                self._due.append(Notice(peer, error.reason, line))
            told_s = now_s
        self._told_s[process] = told_s
        if len(self._told_s) > MAX_REMEMBERED:
            self._told_s.popitem(last=False)

    @property
    def any_shown(self) -> bool:
        """True if the status lists a refused peer."""
        return bool(self._shown)

    def accept(self, actor_id: str) -> None:
        """Remove an id from the refused ones, as another process with this id was accepted."""
        self._shown.pop(actor_id, None)

    def due(self) -> list[Notice]:
        """Return the refusals to send since the last call."""
        due, self._due = self._due, []
        return due

    def reasons(self) -> dict[str, str]:
        """Return the reason for each recent refusal, by id."""
        return {actor_id: line for actor_id, (_, line) in self._shown.items()}

    def among(self, role: Role, states: Mapping[str, State]) -> dict[str, State]:
        """Return the states of actors or evaluators, with the refused ones added.

        An id that another live process uses keeps its state.
        """
        refused: dict[str, State] = {
            actor_id: "refused"
            for actor_id, (whose, _) in self._shown.items()
            if whose == role and states.get(actor_id) not in ("alive", "late")
        }
        return {**states, **refused}

    def _show(self, peer: Peer, line: str) -> None:
        if self.count <= MAX_LOGGED:
            log.warning("refused %s %s: %s", peer.role, peer.actor_id, line)
        self._shown.pop(peer.actor_id, None)
        self._shown[peer.actor_id] = peer.role, line
        if len(self._shown) > MAX_REFUSED_SHOWN:
            self._shown.popitem(last=False)


def role_of(message: Heard) -> Role:
    """Return whether an actor or an evaluator sent a message."""
    if isinstance(message, Hello | Bye):
        return message.role
    return "actor" if isinstance(message, Batch) else "evaluator"
