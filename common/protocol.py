"""The wire codec: bytes <-> messages. No sockets, no clocks, no files.

A frame is `magic | version | reserved | header length | CRC-32 | msgpack header | raw arrays`, little
endian. The header is one msgpack map: the message's fields, its `kind`, and `arrays`, a table of (name,
dtype, shape) in the order of the raw bytes. The CRC covers everything but itself, so a damaged frame is
always refused. `decode` never trusts a length it was sent, and takes no memory before checking one.
"""

import math
import struct
import zlib
from typing import Annotated, Any, ClassVar, Literal

import msgpack
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import ProtocolError
from common.specs import RANGES, EnvSpec, Records

MAGIC = b"GFLT"
VERSION = 1
MAX_HEADER_BYTES = 1 << 20
MAX_ARRAYS = 64
MAX_ELEMENTS = 1 << 32
"""Of an array, an empty side counted as 1: its size in bytes does not bound an empty array's other sides."""
MAX_EPISODES = 4096
MAX_EPISODE_BYTES = 32
"""Of one episode's summary in a header."""
MAX_ROWS = 4096
"""Transitions of one batch at the most."""
MAX_STATUS_KEYS = 4096
DTYPES: dict[str, np.dtype[Any]] = {"u1": np.dtype("u1"), "f4": np.dtype("<f4")}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
PREFIX = struct.Struct("<4sHHII")
_CRC_AT = 12
_AVERAGE = "average."
"""Before the names of the average policy's arrays."""
_CARRIED = ("rows", "policy", "average")
"""Fields that travel as arrays, not in the header."""

Buffer = bytes | memoryview
Arrays = dict[str, NDArray[Any]]
Count = Annotated[int, Field(ge=0, lt=1 << 45)]
"""Small enough that the sum over a hundred thousand boots still fits 63 bits."""
Total = Annotated[int, Field(ge=0, lt=1 << 63)]
Seq = Annotated[int, Field(ge=0, lt=(1 << 45) - 1)]
"""Number of a batch; the one after it is still a `Count`."""
ActorId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
BootId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Return = Annotated[float, Field(ge=-1e100, le=1e100)]
"""A sum of rewards, small enough that its square is finite too."""

Episode = tuple[Return, Count, bool | None, Count]
"""One finished episode: return, length in env steps, success (None: the environment says nothing), seed."""


class Message(BaseModel):
    """What every message is: immutable fields, checked strictly, unknown ones refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, arbitrary_types_allowed=True)
    kind: ClassVar[str]

    def arrays(self) -> Arrays:
        """Return what travels as raw bytes behind the header."""
        return {}


class Hello(Message):
    """An actor's first message; again every second while it has nothing else to say.

    Attributes:
        spec: `EnvSpec.to_mapping()`.
        next_seq: the oldest batch that the actor still keeps; lower ones it will never send again.
    """

    kind = "hello"
    actor_id: ActorId
    boot_id: BootId
    next_seq: Count
    spec: dict[str, str | int | float | tuple[float, ...]]


class Batch(Message):
    """Transitions and finished episodes.

    Attributes:
        digest: of the spec that the rows are packed by.
        weights_version: of the newest policy behind these transitions; 0 is random actions.
        produced: transitions that this boot made in all, these included.
        discarded: env steps that this boot threw away (a broken simulation).
        resent: batches that this boot had sent again when it sealed this one.
        rows: [n, EnvSpec.record.itemsize] uint8, packed records.
    """

    kind = "batch"
    actor_id: ActorId
    boot_id: BootId
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
    """An actor leaves; everything before `next_seq` has been sent."""

    kind = "bye"
    actor_id: ActorId
    boot_id: BootId
    next_seq: Count


class Evaluation(Message):
    """Deterministic episodes of one published policy."""

    kind = "evaluation"
    actor_id: ActorId
    weights_version: Count
    env_steps: Count
    episodes: Annotated[tuple[Episode, ...], Field(min_length=1, max_length=MAX_EPISODES)]


class Weights(Message):
    """A published policy; also the format of the policy files in a run directory.

    Attributes:
        policy: float32 arrays that `common.policy.NumpyPolicy` takes; what actors act by.
        average: arrays of the same names, the policy's average over its last updates; empty if none is kept.
    """

    kind = "weights"
    version: Count
    env_steps: Count
    updates: Count
    spec: dict[str, str | int | float | tuple[float, ...]]
    policy: Arrays
    average: Arrays = Field(default_factory=dict)

    @property
    def judged(self) -> Arrays:
        """What deterministic episodes are run with."""
        return self.average or self.policy

    def arrays(self) -> Arrays:
        """Return the policy and, under names of its own, its average."""
        return {**self.policy, **{_AVERAGE + name: array for name, array in self.average.items()}}

    @staticmethod
    def sort(arrays: Arrays) -> dict[str, Any]:
        """Return the fields that `arrays` was made of."""
        average = {name: array for name, array in arrays.items() if name.startswith(_AVERAGE)}
        return {
            "policy": {name: array for name, array in arrays.items() if name not in average},
            "average": {name.removeprefix(_AVERAGE): array for name, array in average.items()},
        }


class Ack(Message):
    """Every batch of this boot below `next_seq` is in the replay (or rejected) and may be forgotten."""

    kind = "ack"
    boot_id: BootId
    next_seq: Count


class Status(Message):
    """What the learner says of itself once a second."""

    kind = "status"
    state: Literal["waiting", "running", "draining", "done"]
    metrics: Annotated[dict[str, Finite | Total], Field(max_length=MAX_STATUS_KEYS)]
    actors: Annotated[
        dict[ActorId, Literal["alive", "late", "gone", "left"]], Field(max_length=MAX_STATUS_KEYS)
    ]


KINDS: dict[str, type[Message]] = {
    message.kind: message for message in (Hello, Batch, Bye, Evaluation, Weights, Ack, Status)
}


def encode(message: Message) -> bytes:
    """Return the one frame of a message; its arrays must be C-contiguous and of an allowed dtype."""
    arrays = message.arrays()
    header = msgpack.packb(
        {
            "kind": message.kind,
            "arrays": [(name, _NAMES[array.dtype], array.shape) for name, array in arrays.items()],
            **{name: value for name, value in vars(message).items() if name not in _CARRIED},
        }
    )
    body = [header, *(array.data.cast("B") if array.size else b"" for array in arrays.values())]
    prefix = PREFIX.pack(MAGIC, VERSION, 0, len(header), 0)[:_CRC_AT]
    return b"".join([prefix, struct.pack("<I", _crc(prefix, *body)), *body])


def decode(frame: Buffer) -> Message:
    """Return the message of a frame; its arrays are read-only views of the frame's memory.

    Raises:
        ProtocolError: anything at all is wrong with the frame.
    """
    view = memoryview(frame)
    header, raw = _split(view)
    try:
        fields = msgpack.unpackb(
            header, use_list=False, strict_map_key=True, max_array_len=MAX_EPISODES, max_ext_len=0
        )
    except (ValueError, TypeError, RecursionError) as error:  # msgpack's own errors are ValueErrors
        raise ProtocolError("header", f"not msgpack ({type(error).__name__})") from None
    kind = fields.pop("kind", None) if isinstance(fields, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ProtocolError("kind", "unknown")
    message = KINDS[kind]
    arrays = _read_arrays(fields.pop("arrays", ()), raw)
    carried: dict[str, Any] = Weights.sort(arrays) if message is Weights else dict(arrays)
    try:
        return message(**fields, **carried)  # a name in both is a TypeError
    except (ValidationError, TypeError) as error:
        where = error.errors()[0]["loc"] if isinstance(error, ValidationError) else "names"
        raise ProtocolError("field", f"{message.kind}: {where}") from None


def _crc(prefix: Buffer, *body: Buffer) -> int:
    value = zlib.crc32(prefix)
    for part in body:
        value = zlib.crc32(part, value)
    return value


def _split(view: memoryview) -> tuple[memoryview, memoryview]:
    """Return a checked frame's header and raw arrays."""
    if len(view) < PREFIX.size:
        raise ProtocolError("short", f"{len(view)} bytes")
    magic, version, reserved, header_bytes, crc = PREFIX.unpack_from(view)
    if magic != MAGIC:
        raise ProtocolError("magic", repr(magic))
    if (version, reserved) != (VERSION, 0):
        raise ProtocolError("version", f"{version}, allowed {VERSION}")
    if header_bytes > min(MAX_HEADER_BYTES, len(view) - PREFIX.size):
        raise ProtocolError("header", f"{header_bytes} bytes")
    if crc != _crc(view[:_CRC_AT], view[PREFIX.size :]):
        raise ProtocolError("checksum")
    end = PREFIX.size + header_bytes
    return view[PREFIX.size : end], view[end:]


def _read_arrays(table: object, raw: memoryview) -> Arrays:
    """Cut the raw bytes into the arrays that the table names; they must fill it exactly."""
    if not isinstance(table, tuple) or len(table) > MAX_ARRAYS:
        raise ProtocolError("arrays", "no table, or too long")
    arrays: Arrays = {}
    offset = 0
    for row in table:
        if not isinstance(row, tuple) or len(row) != 3:
            raise ProtocolError("arrays", "row")
        name, dtype, shape = row
        if not isinstance(name, str) or name in arrays or not isinstance(dtype, str) or dtype not in DTYPES:
            raise ProtocolError("arrays", "name or dtype")
        if not isinstance(shape, tuple) or len(shape) > 4 or any(type(n) is not int or n < 0 for n in shape):
            raise ProtocolError("arrays", "shape")
        size = math.prod(shape) * DTYPES[dtype].itemsize
        if size > len(raw) - offset or math.prod(n or 1 for n in shape) > MAX_ELEMENTS:
            raise ProtocolError("arrays", "longer than the frame")
        arrays[name] = np.frombuffer(raw[offset : offset + size], DTYPES[dtype]).reshape(shape)
        offset += size
    if offset != len(raw):
        raise ProtocolError("arrays", f"{len(raw) - offset} bytes too many")
    return arrays
