"""The spec of an environment: the contract between actors, the wire and the replay.

In: values that an actor reads from its environment or receives in a peer's message. Out: shapes, dtypes and
the packed record of one transition. Must not know: any environment's meaning.
"""

import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import msgpack
import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from graspfleet.common.errors import ProtocolError
from graspfleet.common.fields import Finite, Record

MAX_DIM = 65_536
"""Largest size of an observation or action that a spec may declare."""

MAX_FIELDS, MAX_FIELD_NAME, MAX_RANK = 256, 64, 8
"""Largest numbers of fields of an observation, of characters in a field's name, and of its dimensions."""

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

RECORD_END = struct.Struct("<ff??2x")
"""The last fields of a record: reward, discount, terminated, truncated, padding."""

Floats = NDArray[np.float32]
Records = NDArray[np.void]
"""Structured array [n] of transitions, dtype `EnvSpec.record`."""

Bound = tuple[Finite, ...]


class ObsField(Record):
    """One field of an observation; its values are contiguous in the flat vector.

    Attributes:
        name: the path of keys to the field, joined by dots; ``obs`` if the observation is one array.
        shape: of an array, or (number of choices,) of a one-hot vector.
    """

    name: Annotated[str, Field(pattern=rf"^[!-~]{{1,{MAX_FIELD_NAME}}}$")]
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_DIM)], ...], Field(max_length=MAX_RANK)]

    @property
    def size(self) -> int:
        """Number of values in the flat vector."""
        return math.prod(self.shape)


def _read_fields(value: Any) -> Any:
    """Convert the plain values of a message or file to fields; a file has lists in place of tuples."""
    if not isinstance(value, tuple | list):
        return value
    return tuple(ObsField.model_validate(_tuples(each)) if isinstance(each, dict) else each for each in value)


def _tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


ObsFields = Annotated[
    tuple[ObsField, ...], Field(min_length=1, max_length=MAX_FIELDS), BeforeValidator(_read_fields)
]


@dataclass(slots=True)
class Transition:
    """One n-step transition of one environment.

    Attributes:
        obs: [obs_dim] float32.
        next_obs: [obs_dim] float32, n steps later.
        action: [action_dim] float32 in [-1, 1].
        reward: discounted sum over the n steps.
        discount: factor of the bootstrap at `next_obs`: discount**n, with n shorter at an episode's end.
        terminated: whether `next_obs` is terminal.
        truncated: whether the episode was truncated there.
    """

    obs: Floats
    next_obs: Floats
    action: Floats
    reward: float
    discount: float
    terminated: bool
    truncated: bool

    def pack(self, record_bytes: int) -> bytes:
        """Return the bytes of an `EnvSpec.record`, several times as fast as NumPy does.

        Args:
            record_bytes: size of the record.

        Raises:
            ValueError: the arrays have another size than the record, hence another shape or dtype.
        """
        end = RECORD_END.pack(self.reward, self.discount, self.terminated, self.truncated)
        parts: Any = self.obs, self.next_obs, self.action, end
        try:
            row = b"".join(parts)
        except TypeError:  # an array is not contiguous
            row = b"".join((self.obs.tobytes(), self.next_obs.tobytes(), self.action.tobytes(), end))
        if len(row) != record_bytes:
            raise ValueError(f"a transition of {len(row)} bytes, allowed {record_bytes}")
        return row


class EnvSpec(Record):
    """Shapes of a transition and the settings that give its numbers their meaning.

    Processes with different specs cannot share a replay; the digest makes the difference cheap to detect.

    Attributes:
        env: Gymnasium id.
        obs_dim: length of the flat float32 observation.
        obs_fields: fields of the observation, in order; None: a single array.
        action_dim: length of the flat float32 action, always within [-1, 1] here and on the wire.
        discount: per env step, already folded into `reward` and `discount` of a record.
        n_step: env steps that a record's reward sums over.
        action_low: [action_dim] the environment's own bounds, which -1 stands for; None: unknown.
        action_high: [action_dim] the bounds that 1 stands for; None: unknown.
    """

    env: str
    obs_dim: Annotated[int, Field(ge=1, le=MAX_DIM)]
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
        fields = self.obs_fields
        if fields is None:
            return self
        if sum(field.size for field in fields) != self.obs_dim:
            raise ValueError(f"the sizes of the fields do not add up to {self.obs_dim}")
        if len({field.name for field in fields}) < len(fields):
            raise ValueError("two fields have the same name")
        return self

    @property
    def layout(self) -> str:
        """Fields of an observation with their shapes, for the user."""
        fields = self.obs_fields or (ObsField(name="obs", shape=(self.obs_dim,)),)
        return ", ".join(f"{field.name} {field.shape}" for field in fields)

    @classmethod
    def from_mapping(cls, data: Any) -> "EnvSpec":
        """Return the spec in the plain values of a file.

        Raises:
            ProtocolError: a field is missing, unknown, of a wrong type, or out of range.
        """
        if not isinstance(data, dict):
            raise ProtocolError("spec", "not a mapping")
        try:
            return cls.model_validate(_tuples(data))
        except ValidationError as error:
            raise ProtocolError("spec", str(error.errors()[0]["loc"])) from None

    def to_mapping(self) -> dict[str, Any]:
        """Return plain values, as in messages and files."""
        return self.model_dump(exclude_none=True)

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

        The fields are those of `Transition`.
        """
        return np.dtype(
            [
                ("obs", "<f4", (self.obs_dim,)),
                ("next_obs", "<f4", (self.obs_dim,)),
                ("action", "<f4", (self.action_dim,)),
                ("reward", "<f4"),
                ("discount", "<f4"),
                ("terminated", "?"),
                ("truncated", "?"),
                ("padding", "u1", (2,)),
            ]
        )

    @cached_property
    def limits(self) -> NDArray[np.float32]:
        """[2, F] lower and upper bounds of the F floats at the beginning of a record, from `RANGES`."""
        ends = np.zeros(2, self.record)
        for name, (least, most) in RANGES.items():
            ends[name][0], ends[name][1] = least, most
        return ends.view("<f4").reshape(2, -1)[:, :-1].copy()

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
        if (rows[:, -4:-2] > 1).any():
            raise ProtocolError("flags", "terminated or truncated is neither 0 nor 1")
        floats = rows[:, :-4].view("<f4")
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
