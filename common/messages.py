"""What is said over the wire: the messages, their fields and the limits of each.

In and out: plain values and arrays. No bytes (that is `common.protocol`), no sockets, no clocks.
"""

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.errors import ProtocolError
from common.specs import RANGES, EnvSpec, Records

MAX_EPISODES = 4096
MAX_EPISODE_BYTES = 32
"""Of one episode's summary in a header."""
MAX_ROWS = 4096
"""Transitions of one batch at the most."""
MAX_STATUS_KEYS = 4096
MAX_REFUSED_SHOWN = 64
"""Refused peers that a status names, with the reason of each."""
MAX_LINE = 300
"""Characters of a text for people."""
MAX_ROOM = 1 << 30
"""Transitions that an actor may be ahead of a learner that sets no limit; its own limits are lower."""
_EMA = "average."
"""Before the names of the arrays of the policy's moving average, in every version."""

Arrays = dict[str, NDArray[Any]]
Count = Annotated[int, Field(ge=0, lt=1 << 45)]
"""Small enough that the sum over a hundred thousand sessions still fits 63 bits."""
Total = Annotated[int, Field(ge=0, lt=1 << 63)]
Seq = Annotated[int, Field(ge=0, lt=(1 << 45) - 1)]
"""Number of a batch; the one after it is still a `Count`."""
MAX_ID = 64
"""Characters of an actor's id."""
ActorId = Annotated[str, Field(pattern=rf"^[A-Za-z0-9._-]{{1,{MAX_ID}}}$")]
SessionId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Challenge = Annotated[int, Field(ge=0, lt=1 << 45)]
"""A random number that only a living process can say again; 0: none is asked for, or none was heard."""
Line = Annotated[str, Field(pattern=r"^[ -~]*$", max_length=MAX_LINE)]
"""Printable, so that a peer cannot move the cursor of whoever reads it."""


def to_line(text: str) -> str:
    """Return a text as a `Line`: cut off at the limit, with a question mark for whatever is not printable."""
    return "".join(char if " " <= char <= "~" else "?" for char in text[:MAX_LINE])


Role = Literal["actor", "evaluator"]
State = Literal["alive", "late", "gone", "left", "refused"]
"""Of a peer, as the learner's status tells it."""
Finite = Annotated[float, Field(allow_inf_nan=False)]
Return = Annotated[float, Field(ge=-1e100, le=1e100)]
"""A sum of rewards, small enough that its square is finite too."""

Episode = tuple[Return, Count, bool | None, Count]
"""One finished episode: return, length in env steps, success (None: the environment says nothing), seed."""


class Message(BaseModel):
    """What every message is: immutable fields, checked strictly, unknown ones refused.

    Attributes:
        kind: name of the class in a header.
        carried: names of the fields that travel as raw bytes behind the header.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)
    kind: ClassVar[str]
    carried: ClassVar[frozenset[str]] = frozenset()

    def arrays(self) -> Arrays:
        """Return what the carried fields hold, by the names that they travel under."""
        return {}

    @classmethod
    def fields_of(cls, arrays: Arrays) -> dict[str, Any]:
        """Return the carried fields that `arrays` came from."""
        return dict(arrays)


class Hello(Message):
    """A peer's first message; again every second while it has nothing else to say.

    Attributes:
        next_seq: the oldest batch that the actor still keeps; lower ones it will never send again.
        spec: `EnvSpec.to_mapping()`.
        role: who speaks; an evaluator sends no batches.
        answer: the newest challenge heard, see `Ack`.
    """

    kind = "hello"
    actor_id: ActorId
    session_id: SessionId
    next_seq: Count
    spec: dict[str, str | int | float | tuple[float, ...]]
    role: Role = "actor"
    answer: Challenge = 0


class Batch(Message):
    """Transitions and finished episodes.

    Attributes:
        digest: of the spec that the rows are packed by.
        weights_version: of the newest policy behind these transitions; 0 is random actions.
        produced: transitions that this session made in all, these included.
        discarded: env steps and resets that this session threw away, one for each broken episode.
        resent: batches that this session had sent again when it sealed this one.
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
        """View the rows as transitions of `spec`.

        Raises:
            ProtocolError: they were packed by another spec, or a value is not finite or out of range.
        """
        if self.digest != spec.digest or self.rows.dtype != np.uint8:
            raise ProtocolError("spec", f"digest {self.digest.hex()}, allowed {spec.digest.hex()}")
        if self.rows.ndim != 2 or self.rows.shape[1] != spec.record.itemsize:
            raise ProtocolError("shape", f"rows {self.rows.shape}, allowed [n, {spec.record.itemsize}]")
        if len(self.rows) > MAX_ROWS:
            raise ProtocolError("too-long", f"{len(self.rows)} transitions, allowed {MAX_ROWS}")
        records: Records = self.rows.view(spec.record).reshape(-1)
        if (self.rows[:, -4:-2] > 1).any():
            raise ProtocolError("flags", "terminated or truncated is neither 0 nor 1")
        floats = self.rows[:, :-4].view("<f4")
        low, high = spec.limits
        fits = (low <= floats) & (floats <= high)  # also false for NaN
        if not fits.all():
            if not np.isfinite(floats).all():
                raise ProtocolError("not-finite", "NaN or infinity in a transition")
            for name, (least, most) in RANGES.items():
                if ((records[name] < least) | (records[name] > most)).any():
                    raise ProtocolError(name, f"outside [{least:g}, {most:g}]")
        return records


class Bye(Message):
    """A peer leaves; everything before `next_seq` has been sent."""

    kind = "bye"
    actor_id: ActorId
    session_id: SessionId
    next_seq: Count
    role: Role = "actor"


class EvaluationStarted(Message):
    """Deterministic episodes of one published policy begin: it is to be kept until they are reported.

    Attributes:
        weights_version: of the policy.
        env_steps: the learner's, when it was published.
    """

    kind = "evaluation_started"
    actor_id: ActorId
    session_id: SessionId
    weights_version: Count
    env_steps: Count


class Evaluation(Message):
    """Deterministic episodes of one published policy.

    Attributes:
        weights_version: of the policy.
        env_steps: the learner's, when it was published.
        episodes: those that the environment ended; a broken one is none.
        broken: episodes that the environment broke off, by an error or a value that is not finite.
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
            raise ValueError("no episode, whole or broken")
        return self


class Weights(Message):
    """A published policy; also the format of the policy files in a run directory.

    Attributes:
        policy: float32 arrays that `common.policy.NumpyPolicy` takes; what actors act by.
        ema: arrays of the same names, the exponential moving average of the policy; empty if none is kept.
    """

    kind = "weights"
    carried = frozenset({"policy", "ema"})
    version: Count
    env_steps: Count
    updates: Count
    spec: dict[str, str | int | float | tuple[float, ...]]
    policy: Arrays
    ema: Arrays = Field(default_factory=dict)

    @property
    def eval_policy(self) -> Arrays:
        """Arrays that deterministic episodes are run with."""
        return self.ema or self.policy

    def arrays(self) -> Arrays:
        """Return the policy and, under names of its own, its moving average."""
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
    """Every batch of this session below `next_seq` is in the replay (or rejected) and may be forgotten.

    Attributes:
        held: batches from `next_seq` on that the learner has and will take when it is their turn.
        room: transitions that this actor may have made beyond those below `next_seq`.
        challenge: to be said again in a hello at once: two processes use this actor's id, and the learner
            asks which of them live.
    """

    kind = "ack"
    session_id: SessionId
    next_seq: Count
    held: Count = 0
    room: Count = MAX_ROOM
    challenge: Challenge = 0


class Refusal(Message):
    """One process is told that nothing it sends will be taken, and why.

    Everybody can listen to the control channel and so learn a session id: a peer with keys believes only a
    refusal that names its own public key, which nobody else can bring about.

    Attributes:
        key: public key (Z85) of whoever sent what was refused; empty in plaintext.
        reason: short stable slug.
        detail: the offending values and what is allowed.
    """

    kind = "refusal"
    session_id: SessionId
    key: Annotated[str, Field(pattern=r"^[!-~]*$", max_length=40)]
    reason: Annotated[str, Field(pattern=r"^[a-z-]{1,32}$")]
    detail: Line


class Status(Message):
    """What the learner says of itself once a second.

    Attributes:
        actors: state of each actor by its id.
        evaluators: likewise.
        refused: why those last refused were, by id.
    """

    kind = "status"
    state: Literal["waiting", "running", "draining", "done"]
    metrics: Annotated[dict[str, Finite | Total], Field(max_length=MAX_STATUS_KEYS)]
    actors: Annotated[dict[ActorId, State], Field(max_length=MAX_STATUS_KEYS + MAX_REFUSED_SHOWN)]
    evaluators: Annotated[dict[ActorId, State], Field(max_length=MAX_STATUS_KEYS + MAX_REFUSED_SHOWN)] = (
        Field(default_factory=dict)
    )
    refused: Annotated[dict[ActorId, Line], Field(max_length=MAX_REFUSED_SHOWN)] = Field(default_factory=dict)


KINDS: dict[str, type[Message]] = {
    message.kind: message
    for message in (Hello, Batch, Bye, Evaluation, EvaluationStarted, Weights, Ack, Refusal, Status)
}
