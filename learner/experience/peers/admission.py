"""Admission of messages: checks of rate, format, sender id, spec and limits.

In: frames, each with the name of its sender's key. Out: messages, each with its sender's session. Refused
senders are recorded so that they can be notified. Time is passed in; no sockets here.
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
    """A message that was admitted, and the session of its sender."""

    message: Heard
    session: Session


class Admission:
    """Admits or drops each frame.

    Args:
        spec: layout of a transition; senders with a different spec are refused.
        actors: sessions of the actors.
        evaluators: sessions of the evaluators.
        throttle: rate limit of each sender; None for no limit.
        refusals: senders to be told that they are refused.
        complaints: counts throttled, malformed and refused messages.
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
        """Return the message in a frame, or None if the frame is dropped, which is counted.

        Args:
            frame: the bytes.
            key: name of the sender's key, None in plaintext.
            now_s: monotonic time, in seconds.
            listened_s: monotonic time when the socket was last read empty.
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
        """Return the sessions that hold a sender's own; the actors' for an unknown sender."""
        return self._actors if self._evaluators.get(sender) is None else self._evaluators

    def _charge(self, frame: Buffer, key: str | None, now_s: float, *, evaluations: bool) -> str:
        """Charge a frame to its sender before spending any time on it; return the name that was charged.

        Frames of senders without a session, and frames that are not messages, share one allowance per key.

        Raises:
            ProtocolError: the sender has sent too much.
        """
        seen = peek(frame)
        if seen.is_evaluation and not evaluations:
            raise ProtocolError("too-many-evaluations", "the previous ones have not been handled yet")
        name = seen.actor_id
        if name is None or not (self._knows(name) and may_use(key, name)):
            name = f"senders without a session, key {key}"
        if self._throttle is not None and not self._throttle.admits(name, len(frame), now_s):
            limits = "--max-actor-batches-per-s and --max-actor-bytes-per-s"
            raise ProtocolError("too-fast", f"{name}; see {limits}")
        return name

    def _knows(self, actor_id: str) -> bool:
        return self._actors.knows(actor_id) or self._evaluators.knows(actor_id)

    def _session(self, message: Heard, key: str | None, now_s: float, listened_s: float) -> Session:
        """Return the session of an admissible sender.

        Raises:
            RefusedError: the sender is refused.
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
                raise RefusedError("spec", differences(message.spec.described(), self._spec.described()))
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
    return "a peer without a key" if key is None else f"key {key}"
