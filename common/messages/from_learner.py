"""Messages from the learner to actors, evaluators and monitors."""

from typing import Annotated, Any, Literal

from pydantic import Field

from graspfleet.common.fields import (
    MAX_REFUSED_SHOWN,
    MAX_ROOM,
    MAX_STATUS_KEYS,
    ActorId,
    Challenge,
    Count,
    Finite,
    Line,
    SessionId,
    State,
    Total,
)
from graspfleet.common.messages.base import Arrays, Message
from graspfleet.common.specs import EnvSpec

_EMA = "average."
"""Prefix of the names of the moving average's arrays; the same in every version."""


class Weights(Message):
    """A published policy; also the format of the policy files in a run directory.

    Attributes:
        policy: float32 arrays for `common.policy.NumpyPolicy`; actors use these.
        ema: exponential moving average of the policy, arrays of the same names; empty if none is kept.
    """

    kind = "weights"
    carried = frozenset({"policy", "ema"})
    version: Count
    env_steps: Count
    updates: Count
    spec: EnvSpec
    policy: Arrays
    ema: Arrays = Field(default_factory=dict)

    @property
    def eval_policy(self) -> Arrays:
        """Arrays for deterministic episodes: the average, or the policy if there is none."""
        return self.ema or self.policy

    def arrays(self) -> Arrays:
        """Return the policy and, under prefixed names, its moving average."""
        return {**self.policy, **{_EMA + name: array for name, array in self.ema.items()}}

    @classmethod
    def fields_of(cls, arrays: Arrays) -> dict[str, Any]:
        """Return the policy and its moving average."""
        ema = {name: array for name, array in arrays.items() if name.startswith(_EMA)}
        return {
            "policy": {name: array for name, array in arrays.items() if name not in ema},
            "ema": {name.removeprefix(_EMA): array for name, array in ema.items()},
        }


class Ack(Message):
    """An acknowledgement: the actor may forget every batch of this session below `next_seq`.

    Those batches are in the replay, or were rejected.

    Attributes:
        held: batches from `next_seq` on that the learner has received and will insert later.
        room: transitions that this actor may have outstanding beyond those below `next_seq`.
        challenge: number to repeat in a hello at once; the learner sends it to find out which of two
            processes with this actor id is alive. 0: none.
    """

    kind = "ack"
    session_id: SessionId
    next_seq: Count
    held: Count = 0
    room: Count = MAX_ROOM
    challenge: Challenge = 0


class Refusal(Message):
    """A refusal: the learner drops all messages of one process.

    Anyone can subscribe to the control channel and learn session ids, so a peer with keys accepts only a
    refusal that names its own public key, which no other peer can provoke.

    Attributes:
        key: public key (Z85) of the refused sender; empty in plaintext.
        reason: short stable slug.
        detail: the offending values and the allowed ones.
    """

    kind = "refusal"
    session_id: SessionId
    key: Annotated[str, Field(pattern=r"^[!-~]*$", max_length=40)]
    reason: Annotated[str, Field(pattern=r"^[a-z-]{1,32}$")]
    detail: Line


class Status(Message):
    """The learner's state, published once a second.

    Attributes:
        actors: state of each actor by its id.
        evaluators: state of each evaluator by its id.
        refused: reasons of the latest refusals by actor id.
    """

    kind = "status"
    state: Literal["waiting", "running", "draining", "done"]
    metrics: Annotated[dict[str, Finite | Total], Field(max_length=MAX_STATUS_KEYS)]
    actors: Annotated[dict[ActorId, State], Field(max_length=MAX_STATUS_KEYS + MAX_REFUSED_SHOWN)]
    evaluators: Annotated[dict[ActorId, State], Field(max_length=MAX_STATUS_KEYS + MAX_REFUSED_SHOWN)] = (
        Field(default_factory=dict)
    )
    refused: Annotated[dict[ActorId, Line], Field(max_length=MAX_REFUSED_SHOWN)] = Field(default_factory=dict)
