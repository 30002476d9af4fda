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
from graspfleet.common.observations.fields import Pixels
from graspfleet.common.specs import MAX_FRAME_REFERENCE, EnvSpec, Records


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
        first_frame: frames that this session sent before this batch.
        rows: [n, EnvSpec.record.itemsize] uint8, packed records.
        frames: [m, frame_bytes] uint8, those that no earlier batch holds.
    """

    kind = "batch"
    carried = frozenset({"rows", "frames"})
    actor_id: ActorId
    session_id: SessionId
    seq: Seq
    digest: Annotated[bytes, Field(min_length=8, max_length=8)]
    weights_version: Count
    produced: Count
    discarded: Count
    resent: Count
    episodes: Annotated[tuple[Episode, ...], Field(max_length=MAX_EPISODES)]
    first_frame: Count = 0
    rows: NDArray[np.uint8]
    frames: NDArray[np.uint8] = Field(default_factory=lambda: np.empty((0, 0), np.uint8))

    def arrays(self) -> Arrays:
        """Return the rows and, if there are any, the frames."""
        return {"rows": self.rows, "frames": self.frames} if self.frames.size else {"rows": self.rows}

    @property
    def size_bytes(self) -> int:
        """Size of rows and frames."""
        return self.rows.nbytes + self.frames.nbytes

    def num_env_steps(self, spec: EnvSpec) -> int:
        """Return the number of rows that are not relabeled; 0 if they are not those of `spec`."""
        if self.rows.dtype != np.uint8 or self.rows.shape[1:] != (spec.record.itemsize,):
            return 0
        return len(self.rows) - int(np.count_nonzero(self.rows[:, spec.numbers_bytes - 2]))

    def records(self, spec: EnvSpec) -> Records:
        """Return a view of the rows as transitions of `spec`.

        Raises:
            ProtocolError: rows or frames belong to another spec, or a value is not finite or out of range.
        """
        if self.digest != spec.digest:
            raise ProtocolError("spec", f"digest {self.digest.hex()}, allowed {spec.digest.hex()}")
        if self.rows.ndim and len(self.rows) > MAX_ROWS:
            raise ProtocolError("too-long", f"{len(self.rows)} transitions, allowed {MAX_ROWS}")
        records = spec.unpack(self.rows)
        if spec.frame_bytes or self.frames.size:
            frames = self.new_frames(spec)
            used = np.unique(np.concatenate((records["frame"], records["next_frame"])))
            allowed = MAX_FRAME_REFERENCE + len(frames)
            if used.size and used[-1] >= allowed:
                raise ProtocolError("frame", f"a reference of {used[-1]}, allowed < {allowed}")
            if (used >= MAX_FRAME_REFERENCE).sum() < len(frames):
                raise ProtocolError("frame", "a frame without a transition")
        return records

    def new_frames(self, spec: EnvSpec) -> Pixels:
        """Return the frames, [m, frame_bytes].

        Raises:
            ProtocolError: they have another shape or dtype than those of `spec`.
        """
        frames, most = self.frames, spec.max_batch_frames
        if not frames.size:
            return np.empty((0, spec.frame_bytes), np.uint8)
        fits = frames.ndim == 2 and frames.shape[1] == spec.frame_bytes and len(frames) <= most
        if not fits or frames.dtype != np.uint8:
            raise ProtocolError(
                "frames", f"{frames.shape} of {frames.dtype}, allowed [{most}, {spec.frame_bytes}]"
            )
        return frames


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
