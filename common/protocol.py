"""The wire codec: bytes <-> messages. No sockets, no clocks, no files.

A frame is `magic | version | reserved | header length | CRC-32 | msgpack header | raw arrays`, little-endian.
The header is one msgpack map: the message's fields, its `kind`, and `arrays`, a table of (name, dtype, shape)
in the order of the raw bytes. The CRC covers all other bytes, so that a damaged frame is detected.
`decode` checks every length that a peer declares before it allocates memory for it.

Magic, version and checksum have the same position in every version, so that a peer of another version can be
told apart from a damaged frame.
"""

import math
import struct
import zlib
from typing import Any, NamedTuple

import msgpack
import numpy as np
from pydantic import ValidationError

from graspfleet.common.errors import ProtocolError
from graspfleet.common.fields import MAX_EPISODES
from graspfleet.common.messages import KINDS, Arrays, Message
from graspfleet.common.specs import EnvSpec

MAGIC = b"GFLT"
VERSION = 4
OLDEST_POLICY = 1
"""Oldest readable version of policy files."""
MAX_HEADER_BYTES = 1 << 20
MAX_ARRAYS = 256
MAX_ELEMENTS = 1 << 32
"""Largest number of elements of an array, counting dimensions of size 0 as 1, because the frame's length does
not bound the other dimensions of an empty array."""
DTYPES: dict[str, np.dtype[Any]] = {"u1": np.dtype("u1"), "f4": np.dtype("<f4")}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
PREFIX = struct.Struct("<4sHHII")
_CRC_AT = 12
_PEEK_BYTES = 160
"""Bytes of a header that hold its kind, table of arrays and actor id."""
_ACTOR_KEY = msgpack.packb("actor_id")
_EVALUATION = b"evaluation"

Buffer = bytes | memoryview


def encode(message: Message) -> bytes:
    """Return a message as a frame; the arrays must be C-contiguous and of an allowed dtype."""
    arrays = message.arrays()
    header = msgpack.packb(
        {
            "kind": message.kind,
            "arrays": [(name, _NAMES[array.dtype], array.shape) for name, array in arrays.items()],
            **{name: value for name, value in vars(message).items() if name not in message.carried},
        },
        default=EnvSpec.to_mapping,
    )
    body = [header, *(array.data.cast("B") if array.size else b"" for array in arrays.values())]
    prefix = PREFIX.pack(MAGIC, VERSION, 0, len(header), 0)[:_CRC_AT]
    return b"".join([prefix, struct.pack("<I", _crc(prefix, *body)), *body])


def decode(frame: Buffer, *, oldest: int = VERSION) -> Message:
    """Return the message of a frame; its arrays are read-only views of the frame's memory.

    Args:
        frame: the bytes.
        oldest: oldest accepted version; peers must use the current one.

    Raises:
        ProtocolError: the frame is invalid in any way.
    """
    view = memoryview(frame)
    header, raw = _split(view, oldest)
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
    carried = message.fields_of(_read_arrays(fields.pop("arrays", ()), raw))
    try:
        return message(**fields, **carried)  # a name in both is a TypeError
    except (ValidationError, TypeError) as error:
        where = error.errors()[0]["loc"] if isinstance(error, ValidationError) else "names"
        raise ProtocolError("field", f"{message.kind}: {where}") from None


class Glimpse(NamedTuple):
    """Unvalidated information from the beginning of a frame.

    Attributes:
        actor_id: None if it is not where `encode` writes it.
        is_evaluation: whether the frame claims to be an evaluation or the start of one.
    """

    actor_id: str | None
    is_evaluation: bool


def peek(frame: Buffer) -> Glimpse:
    """Return a frame's sender and whether it is an evaluation, much faster than `decode`."""
    head = bytes(frame[PREFIX.size : PREFIX.size + _PEEK_BYTES])
    at = head.find(_ACTOR_KEY)
    if at < 0:
        return Glimpse(None, False)
    start = at + len(_ACTOR_KEY) + 1
    size = head[start - 1] & 0x1F if start <= len(head) else 0
    if head[start - 1 : start] == b"\xd9":  # longer than 31 bytes: the length is in the next byte
        start, size = start + 1, head[start] if start < len(head) else 0
    return Glimpse(head[start : start + size].decode("ascii", "replace"), _EVALUATION in head[:at])


def _crc(prefix: Buffer, *body: Buffer) -> int:
    value = zlib.crc32(prefix)
    for part in body:
        value = zlib.crc32(part, value)
    return value


def _split(view: memoryview, oldest: int) -> tuple[memoryview, memoryview]:
    """Return header and raw arrays of a frame after checking prefix and checksum."""
    if len(view) < PREFIX.size:
        raise ProtocolError("short", f"{len(view)} bytes")
    magic, version, reserved, header_bytes, crc = PREFIX.unpack_from(view)
    if magic != MAGIC:
        raise ProtocolError("magic", repr(magic))
    if crc != _crc(view[:_CRC_AT], view[PREFIX.size :]):
        raise ProtocolError("checksum")
    if not oldest <= version <= VERSION or reserved:
        raise ProtocolError("version", f"{version}, allowed {VERSION}")
    if header_bytes > min(MAX_HEADER_BYTES, len(view) - PREFIX.size):
        raise ProtocolError("header", f"{header_bytes} bytes")
    end = PREFIX.size + header_bytes
    return view[PREFIX.size : end], view[end:]


def _read_arrays(table: object, raw: memoryview) -> Arrays:
    """Return the arrays of the table as views of the raw bytes, which they must cover exactly."""
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
