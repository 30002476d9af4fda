"""Messages from actors and evaluators to the learner."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from graspfleet.common.errors import ProtocolError
from graspfleet.common.fields import (
    MAX_EPISODES,
    MAX_ROWS,
    ActorId,
    Challenge,
    Count,
    Episode,
    Role,
    Seq,
    SessionId,
)
from graspfleet.common.messages.base import Arrays, Message
from graspfleet.common.specs import EnvSpec, Records


class Hello(Message):
    """A peer's first message, repeated every second while it sends nothing else.

    Attributes:
        next_seq: number of the oldest batch that the actor still keeps; it never resends lower ones.
        spec: of the sender's environment.
        role: of the sender; an evaluator sends no batches.
        answer: the last challenge received, see `Ack`.
    """

    kind = "hello"
    actor_id: ActorId
    session_id: SessionId
    next_seq: Count
    spec: EnvSpec
    role: Role = "actor"
    answer: Challenge = 0


class Batch(Message):
    """Transitions and finished episodes.

    Attributes:
        digest: of the spec that the rows are packed with.
        weights_version: newest policy version behind these transitions; 0: random actions.
        produced: transitions of this session so far, including these.
        discarded: env steps and resets that this session discarded, one per broken episode.
        resent: batches that this session had resent when this one was sealed.
        rows: [n, EnvSpec.record.itemsize] uint8, packed records.
    """

    kind = "batch"
    carried = frozenset({"rows"})
    actor_id: ActorId
    session_id: SessionId
    seq: Seq
    digest: Annotated[bytes, Field(min_length=8, max_length=8)]
    weights_version: Count
    produced: Count
    discarded: Count
    resent: Count
    episodes: Annotated[tuple[Episode, ...], Field(max_length=MAX_EPISODES)]
    rows: NDArray[np.uint8]

    def arrays(self) -> Arrays:
        """Return the rows."""
        return {"rows": self.rows}

    def records(self, spec: EnvSpec) -> Records:
        """Return a view of the rows as transitions of `spec`.

        Raises:
            ProtocolError: the rows are packed with another spec, or a value is not finite or out of range.
        """
        if self.digest != spec.digest:
            raise ProtocolError("spec", f"digest {self.digest.hex()}, allowed {spec.digest.hex()}")
        if self.rows.ndim and len(self.rows) > MAX_ROWS:
            raise ProtocolError("too-long", f"{len(self.rows)} transitions, allowed {MAX_ROWS}")
        return spec.unpack(self.rows)


class Bye(Message):
    """A peer's last message before it leaves; it has sent all batches before `next_seq`."""

    kind = "bye"
    actor_id: ActorId
    session_id: SessionId
    next_seq: Count
    role: Role = "actor"


class EvaluationStarted(Message):
    """The start of an evaluation: the learner keeps the policy until the result arrives.

    Attributes:
        weights_version: of the policy.
        env_steps: of the learner when the policy was published.
    """

    kind = "evaluation_started"
    actor_id: ActorId
    session_id: SessionId
    weights_version: Count
    env_steps: Count


class Evaluation(Message):
    """The result of an evaluation: deterministic episodes of one published policy.

    Attributes:
        weights_version: of the policy.
        env_steps: of the learner when the policy was published.
        episodes: complete episodes.
        broken: number of episodes aborted by an error or a non-finite value of the environment.
    """

    kind = "evaluation"
    actor_id: ActorId
    session_id: SessionId
    weights_version: Count
    env_steps: Count
    episodes: Annotated[tuple[Episode, ...], Field(max_length=MAX_EPISODES)]
    broken: Count = 0

    @model_validator(mode="after")
    def _says_something(self) -> "Evaluation":
        if not (self.episodes or self.broken):
            raise ValueError("no episode, complete or broken")
        return self
