"""Admission of messages: rate, format, sender's id, spec and limits are checked here.

In: frames and the key that each came with. Out: messages with the session of whoever sent them. Whoever is
refused as a whole is noted, to be told. Time is passed in; no socket is known here.
"""

from typing import NamedTuple

from graspfleet.common.errors import ProtocolError, RefusedError
from graspfleet.common.messages import Batch, Hello
from graspfleet.common.net.security import may_use, require_own
from graspfleet.common.protocol import Buffer, decode, peek
from graspfleet.common.specs import EnvSpec, differences
from graspfleet.learner.access.complaints import Complaints
from graspfleet.learner.access.refusals import Heard, Peer, Refusals, role_of
from graspfleet.learner.experience.peers.session import Session
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.peers.throttle import Throttle


class Admitted(NamedTuple):
    """A message that is taken, and the session of its sender."""

    message: Heard
    session: Session


class Admission:
    """Decides about each frame.

    Args:
        spec: what a transition looks like; whoever has another one is refused.
        actors: sessions of those who send batches.
        evaluators: sessions of those who send evaluations.
        throttle: how much each may send; None: anything.
        refusals: who is to be told that nothing of it is taken.
        complaints: throttled, malformed and refused messages are counted there.
    """

    def __init__(
        self,
        spec: EnvSpec,
        actors: Sessions,
        evaluators: Sessions,
        throttle: Throttle | None,
        refusals: Refusals,
        complaints: Complaints,
    ) -> None:
        self._spec = spec
        self._actors, self._evaluators = actors, evaluators
        self._throttle = throttle
        self._refusals = refusals
        self._complaints = complaints

    def admit(
        self, frame: Buffer, key: str | None, now_s: float, listened_s: float, *, evaluations: bool
    ) -> Admitted | None:
        """Return what a frame holds if its sender is heard; None when it is dropped, which is counted.

        Args:
            frame: the bytes.
            key: name of its sender's key, None in plaintext.
            now_s: monotonic time.
            listened_s: until when everything that had arrived was read.
            evaluations: whether there is room for one more evaluation.
        """
        try:
            name = self._charge(frame, key, now_s, evaluations=evaluations)
        except ProtocolError as error:
            self._complaints.add("throttled", _holder(key), error)
            return None
        try:
            message = decode(frame)
            if not isinstance(message, Heard):
                raise ProtocolError("kind", f"{message.kind} is not for a learner")
        except ProtocolError as error:
            self._complaints.add("malformed", _holder(key), error)
            return None
        try:
            session = self._session(message, key, now_s, listened_s)
        except RefusedError as error:
            self._complaints.count("refused", error)
            self._refusals.refuse(Peer.of(message, key), error, now_s)
            return None
        if name != message.actor_id and self._throttle is not None:  # its first message counts too
            self._throttle.admits(message.actor_id, len(frame), now_s)
        return Admitted(message, session)

    def sessions_of(self, sender: tuple[str, str]) -> Sessions:
        """Return the sessions that a process has its own among; the actors' for an unknown one."""
        return self._actors if self._evaluators.get(sender) is None else self._evaluators

    def _charge(self, frame: Buffer, key: str | None, now_s: float, *, evaluations: bool) -> str:
        """Charge a frame's sender before any time is spent on the frame; return the name it went to.

        Whoever has no session yet, and whatever is no message, is charged to all strangers of its key.

        Raises:
            ProtocolError: it has sent too much.
        """
        seen = peek(frame)
        if seen.is_evaluation and not evaluations:
            raise ProtocolError("too-many-evaluations", "the last ones have not been looked at yet")
        name = seen.actor_id
        if name is None or not (self._knows(name) and may_use(key, name)):
            name = f"strangers with key {key}"
        if self._throttle is not None and not self._throttle.admits(name, len(frame), now_s):
            limits = "--max-actor-batches-per-s and --max-actor-bytes-per-s"
            raise ProtocolError("too-fast", f"{name}; see {limits}")
        return name

    def _knows(self, actor_id: str) -> bool:
        return self._actors.knows(actor_id) or self._evaluators.knows(actor_id)

    def _session(self, message: Heard, key: str | None, now_s: float, listened_s: float) -> Session:
        """Return the session of a sender who may be heard.

        Raises:
            RefusedError: nothing of it can be taken.
        """
        require_own(key, message.actor_id)
        if isinstance(message, Batch):
            if message.digest != self._spec.digest:
                raise RefusedError(
                    "spec", f"digest {message.digest.hex()}, allowed {self._spec.digest.hex()}"
                )
            sessions = self._actors
        else:
            if isinstance(message, Hello) and message.spec != self._spec:
                raise RefusedError("spec", differences(message.spec.to_mapping(), self._spec.to_mapping()))
            sessions = self._actors if role_of(message) == "actor" else self._evaluators
        sender = message.actor_id, message.session_id
        is_new = self._refusals.any_shown and sessions.get(sender) is None
        session = sessions.hear(sender, key=key, now_s=now_s, listened_s=listened_s)
        if is_new:
            self._refusals.accept(message.actor_id)
        if isinstance(message, Hello) and message.answer:
            sessions.answer(sender, message.answer)
        return session


def _holder(key: str | None) -> str:
    return "some peer" if key is None else f"key {key}"
