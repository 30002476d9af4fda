"""The spec of an environment: the contract between actors, the wire and the replay.

In: values that an actor reads from its environment or receives in a peer's message. Out: shapes, dtypes and
the packed record of one transition. Must not know: any environment's meaning.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

import msgpack
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from graspfleet.common.errors import ProtocolError
from graspfleet.common.fields import Finite, Record
from graspfleet.common.observations.fields import MAX_DIM, MAX_FRAME_BYTES, ObsField, ObsFields, tuples

MAX_MAGNITUDE = float(1 << 24)
"""Largest magnitude of an observation or n-step reward: float32 represents all integers up to it. It keeps a
network's outputs far below the float32 limit; one batch of 3e38 would turn every weight into NaN."""

RANGES = {
    "obs": (-MAX_MAGNITUDE, MAX_MAGNITUDE),
    "next_obs": (-MAX_MAGNITUDE, MAX_MAGNITUDE),
    "action": (-1.0, 1.0),
    "reward": (-MAX_MAGNITUDE, MAX_MAGNITUDE),
    "discount": (0.0, 1.0),
}
"""Smallest and largest allowed numbers of a record."""

Records = NDArray[np.void]
"""Structured array [n] of transitions, dtype `EnvSpec.record`."""

Bound = tuple[Finite, ...]


MAX_FRAME_REFERENCE = 256
"""Largest number of earlier frames of its session that a batch may refer to; older ones are sent again."""
MAX_BATCH_FRAMES, MAX_BATCH_FRAME_BYTES = 4096, 1 << 20
"""Limits of the frames in a batch; two frames are allowed, however large."""


class EnvSpec(Record):
    """Shapes of a transition and the settings that give its numbers their meaning.

    Processes with different specs cannot share a replay; the digest makes the difference cheap to detect.

    Attributes:
        env: Gymnasium id.
        obs_dim: length of the float32 vector of an observation.
        obs_fields: fields of the observation, in order, privileged ones last; None: a single flat array.
        action_dim: length of the flat float32 action, always within [-1, 1] here and on the wire.
        discount: per env step, already folded into `reward` and `discount` of a record.
        n_step: env steps that a record's reward sums over.
        action_low: [action_dim] the environment's own bounds, which -1 stands for; None: unknown.
        action_high: [action_dim] the bounds that 1 stands for; None: unknown.
    """

    env: str
    obs_dim: Annotated[int, Field(ge=0, le=MAX_DIM)]
    action_dim: Annotated[int, Field(ge=1, le=MAX_DIM)]
    discount: Annotated[float, Field(ge=0.0, le=1.0)]
    n_step: Annotated[int, Field(ge=1, le=MAX_DIM)]
    action_low: Bound | None = None
    action_high: Bound | None = None
    obs_fields: ObsFields | None = None

    @model_validator(mode="after")
    def _bounds_fit(self) -> "EnvSpec":
        for bound in (self.action_low, self.action_high):
            if bound is not None and len(bound) != self.action_dim:
                raise ValueError(f"{len(bound)} bounds for {self.action_dim} actions")
        return self

    @model_validator(mode="after")
    def _fields_fit(self) -> "EnvSpec":
        fields = self.fields
        if sum(field.size for field in fields if not field.is_image) != self.obs_dim:
            raise ValueError(f"the sizes of the fields do not add up to {self.obs_dim}")
        if self.frame_bytes > MAX_FRAME_BYTES or not (self.policy_dim or self.frame_bytes):
            raise ValueError("a frame is too large, or the policy would see no field")
        if len({field.name for field in fields}) < len(fields):
            raise ValueError("two fields have the same name")
        if [field.privileged for field in fields] != sorted(field.privileged for field in fields):
            raise ValueError("a field follows a privileged one")
        return self

    @cached_property
    def fields(self) -> tuple[ObsField, ...]:
        """All fields of an observation."""
        if self.obs_fields is not None:
            return self.obs_fields
        return (ObsField(name="obs", shape=(self.obs_dim,)),) if self.obs_dim else ()

    @cached_property
    def images(self) -> tuple[ObsField, ...]:
        """Fields of the frame, in order."""
        return tuple(field for field in self.fields if field.is_image)

    @cached_property
    def frame_bytes(self) -> int:
        """Size of a frame; 0 without images."""
        return sum(field.size for field in self.images)

    @cached_property
    def policy_dim(self) -> int:
        """Length of the part of the vector that the policy sees, at its beginning."""
        return sum(field.size for field in self.fields if not (field.is_image or field.privileged))

    @property
    def max_batch_frames(self) -> int:
        """Largest number of frames in a batch."""
        fitting = MAX_BATCH_FRAME_BYTES // max(1, self.frame_bytes)
        return max(2, min(MAX_BATCH_FRAMES, fitting)) if self.frame_bytes else 0

    @property
    def layout(self) -> str:
        """Fields of an observation with their shapes, for the user."""
        return ", ".join(field.describe() for field in self.fields)

    @property
    def seen_layout(self) -> str:
        """Fields that the policy sees, as in `layout`."""
        return ", ".join(field.describe() for field in self.fields if not field.privileged)

    @classmethod
    def from_mapping(cls, data: Any) -> "EnvSpec":
        """Return the spec in the plain values of a file.

        Raises:
            ProtocolError: a field is missing, unknown, of a wrong type, or out of range.
        """
        if not isinstance(data, dict):
            raise ProtocolError("spec", "not a mapping")
        try:
            return cls.model_validate(tuples(data))
        except ValidationError as error:
            raise ProtocolError("spec", str(error.errors()[0]["loc"])) from None

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values, as in messages and files."""
        return self.model_dump(exclude_defaults=True)

    def described(self) -> dict[str, Any]:
        """Return the values that tell specs apart, for the user."""
        return {"observations": self.layout, **self.model_dump(exclude={"obs_dim", "obs_fields"})}

    @cached_property
    def digest(self) -> bytes:
        """8-byte hash of the spec."""
        return hashlib.blake2b(msgpack.packb(self.to_mapping()), digest_size=8).digest()

    @cached_property
    def record(self) -> np.dtype[np.void]:
        """Packed little-endian record of one transition; its size is a multiple of 4 bytes.

        The fields are those of `Transition`. With images, two numbers refer to its frames: in a batch, they
        count from the frame `MAX_FRAME_REFERENCE` before the batch's first; in the replay, from the run's
        first.
        """
        references = [("frame", "<u8"), ("next_frame", "<u8")] if self.frame_bytes else []
        return np.dtype(
            [
                ("obs", "<f4", (self.obs_dim,)),
                ("next_obs", "<f4", (self.obs_dim,)),
                ("action", "<f4", (self.action_dim,)),
                ("reward", "<f4"),
                ("discount", "<f4"),
                ("terminated", "?"),
                ("truncated", "?"),
                ("relabeled", "?"),
                ("padding", "u1", (1,)),
                *references,
            ]
        )

    @cached_property
    def sample(self) -> np.dtype[np.void]:
        """One transition of a learner's batch: a record, followed by the frames that it refers to."""
        if not self.frame_bytes:
            return self.record
        names = self.record.names or ()
        rest = -2 * self.frame_bytes % 4  # the floats of all transitions stay aligned
        frames = [("pixels", "u1", (self.frame_bytes,)), ("next_pixels", "u1", (self.frame_bytes,))]
        return np.dtype([*((name, self.record[name]) for name in names), *frames, ("rest", "u1", (rest,))])

    @cached_property
    def numbers_bytes(self) -> int:
        """Size of a record without its references to frames."""
        return 4 * (2 * self.obs_dim + self.action_dim + 2) + 4

    @cached_property
    def limits(self) -> NDArray[np.float32]:
        """[2, F] lower and upper bounds of the F floats at the beginning of a record, from `RANGES`."""
        ends = np.zeros(2, self.record)
        for name, (least, most) in RANGES.items():
            ends[name][0], ends[name][1] = least, most
        floats = ends.view(np.uint8).reshape(2, -1)[:, : self.numbers_bytes - 4]
        return np.ascontiguousarray(floats).view("<f4")

    def unpack(self, rows: NDArray[np.uint8]) -> Records:
        """Return a view of packed transitions.

        Args:
            rows: [n, record.itemsize] uint8, received from a peer.

        Raises:
            ProtocolError: the rows have another shape or dtype, or a value is not finite or out of range.
        """
        if rows.dtype != np.uint8:
            raise ProtocolError("spec", f"rows of {rows.dtype}, allowed uint8")
        if rows.ndim != 2 or rows.shape[1] != self.record.itemsize:
            raise ProtocolError("shape", f"rows {rows.shape}, allowed [n, {self.record.itemsize}]")
        records: Records = rows.view(self.record).reshape(-1)
        end = self.numbers_bytes
        if (rows[:, end - 4 : end - 1] > 1).any():
            raise ProtocolError("flags", "terminated, truncated or relabeled is neither 0 nor 1")
        floats = rows[:, : end - 4].view("<f4")
        low, high = self.limits
        fits = (low <= floats) & (floats <= high)  # also false for NaN
        if not fits.all():
            if not np.isfinite(floats).all():
                raise ProtocolError("not-finite", "NaN or infinity in a transition")
            for name, (least, most) in RANGES.items():
                if ((records[name] < least) | (records[name] > most)).any():
                    raise ProtocolError(name, f"outside [{least:g}, {most:g}]")
        return records


def differences(given: Mapping[str, Any], allowed: Mapping[str, Any]) -> str:
    """Return the differences of two specs, each as `EnvSpec.described`, or parts of it, for the user."""
    flags = {"env": "--env", "discount": "--discount", "n_step": "--n-step"}
    return "; ".join(
        f"{flags.get(name, name)} {given.get(name)}, allowed {allowed.get(name)}"
        for name in {**allowed, **given}
        if given.get(name) != allowed.get(name)
    )
