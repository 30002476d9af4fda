"""Frames whose checksum is right and whose content is meant to hurt: ProtocolError, and little memory."""

import struct
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graspfleet.common.errors import ProtocolError
from graspfleet.common.protocol import MAGIC, MAX_ARRAYS, MAX_HEADER_BYTES, PREFIX, VERSION, decode, encode
from tests.common.golden import golden_messages
from tests.fakes import SESSION, SPEC, make_frame, seal

SMALL_BYTES = 1 << 20
PLAIN_SPEC = SPEC.to_mapping()
FIELD = {"name": "obs", "shape": [SPEC.obs_dim]}
UNFIT_FIELDS: list[Any] = [
    *([], {}, 3, "obs", [[]], [3], [None], [{}], [FIELD, FIELD], [{**FIELD, "more": 1}]),
    *([{**FIELD, "name": name}] for name in ("", " ", "a b", "a\n", "é", "x" * 65, 3, None, b"obs")),
    *([{**FIELD, "shape": shape}] for shape in (None, 3, "3", {}, [0], [-1], [1.0], [True], [None], [[3]])),
    *(
        [{**FIELD, "shape": shape}]
        for shape in ([SPEC.obs_dim + 1], [65_537], [65_536] * 8, [1] * 9, [1] * 65_536)
    ),
    [{"name": f"f{index}", "shape": [1]} for index in range(1000)],
]
"""Values of `obs_fields` that no spec has."""
ACK: dict[str, Any] = {"kind": "ack", "session_id": SESSION, "next_seq": 3, "arrays": []}
BATCH: dict[str, Any] = {
    "kind": "batch",
    "actor_id": "a",
    "session_id": SESSION,
    "seq": 0,
    "digest": SPEC.digest,
    "weights_version": 0,
    "produced": 0,
    "discarded": 0,
    "resent": 0,
    "episodes": [],
    "arrays": [["rows", "u1", [1, 4]]],
}
WEIGHTS: dict[str, Any] = {
    "kind": "weights",
    "version": 1,
    "env_steps": 1,
    "updates": 1,
    "spec": PLAIN_SPEC,
    "arrays": [],
}
HELLO: dict[str, Any] = {
    "kind": "hello",
    "actor_id": "a",
    "session_id": SESSION,
    "next_seq": 0,
    "spec": PLAIN_SPEC,
}
STATUS: dict[str, Any] = {"kind": "status", "state": "running", "metrics": {}, "actors": {}}
EVALUATION: dict[str, Any] = {
    "kind": "evaluation",
    "actor_id": "e",
    "session_id": SESSION,
    "weights_version": 0,
    "env_steps": 0,
}
ROW = b"\0\0\0\0"


def refuse(frame: bytes, *, peak_bytes: int = SMALL_BYTES) -> ProtocolError:
    """Decode, which must fail in the one allowed way and without taking much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError) as caught:
            decode(frame)
        assert tracemalloc.get_traced_memory()[1] < peak_bytes
    finally:
        tracemalloc.stop()
    return caught.value


def test_the_frames_that_the_others_are_made_from_are_fine() -> None:
    for header in (ACK, WEIGHTS, HELLO, STATUS, {**EVALUATION, "episodes": [[0.0, 1, None, 2]]}):
        decode(make_frame(header))
    decode(make_frame(BATCH, ROW))


@pytest.mark.parametrize(
    "table",
    [
        [["rows", "u1", [1 << 62, 1 << 62]]],
        [["rows", "u1", [1 << 40]]],
        [["rows", "f4", [2]]],
        [["rows", "u1", [0, 1 << 62]]],
        [["rows", "u1", [0, (1 << 64) - 1]]],
        [["rows", "f4", [1 << 40, 0, 1 << 40]]],
        [["rows", "u1", [-1, -4]]],
        [["rows", "u1", [-1]]],
        [["rows", "u1", [True, 4]]],
        [["rows", "u1", [1.0, 4]]],
        [["rows", "u1", [None]]],
        [["rows", "u1", ["4"]]],
        [["rows", "u1", [[4]]]],
        [["rows", "u1", [1, 1, 1, 1, 4]]],
        [["rows", "u1", 4]],
        [["rows", "u1", [3]]],
        [["rows", "u1", [5]]],
        [["rows", "u1", [2]], ["rows", "u1", [2]]],
        [["rows", "u1", [4]], ["seq", "u1", [0]]],
        [["rows", "u1", [4]], ["kind", "u1", [0]]],
        [["rows", "O", [4]]],
        [["rows", "|V4", [1]]],
        [["rows", "f8", []]],
        [["rows", ["f4"], [1]]],
        [["rows", {}, [1]]],
        [[3, "u1", [4]]],
        [[["rows"], "u1", [4]]],
        [["rows", "u1"]],
        ["rows"],
        [None],
        None,
        {},
        "rows",
        [[f"rows{i}", "u1", [0]] for i in range(MAX_ARRAYS + 1)],
        [["other", "u1", [4]]],
        [],
    ],
    ids=str,
)
def test_a_wrong_table_of_arrays_is_refused(table: object) -> None:
    refuse(make_frame({**BATCH, "arrays": table}, ROW))
    refuse(make_frame({**ACK, "arrays": table}, ROW))


@pytest.mark.parametrize(
    "header",
    [
        {**ACK, "kind": "unknown"},
        {**ACK, "kind": {}},
        {**ACK, "kind": [{}]},
        {**ACK, "kind": None},
        {**ACK, "kind": b"ack"},
        {key: value for key, value in ACK.items() if key != "kind"},
        {**ACK, "more": 1},
        {**ACK, "self": 1},
        {**ACK, "arrays": [["rows", "u1", [0]]]},
        {**ACK, b"next_seq": 3},
        {**ACK, 3: 3},
        {**ACK, "next_seq": -1},
        {**ACK, "next_seq": 1 << 45},
        {**ACK, "next_seq": True},
        {**ACK, "next_seq": 3.0},
        {**ACK, "next_seq": "3"},
        {**ACK, "next_seq": None},
        {**ACK, "session_id": SESSION.upper()},
        {**ACK, "session_id": SESSION + "\n"},
        {**ACK, "session_id": SESSION.encode()},
        {**HELLO, "actor_id": ""},
        {**HELLO, "actor_id": "a" * 65},
        {**HELLO, "actor_id": "a\0b"},
        {**HELLO, "actor_id": "a/../b"},
        {**HELLO, "actor_id": "a b"},
        *({**HELLO, "spec": spec} for spec in ({}, [], None, "spec", [["obs_dim", 1]], [[[1]]])),
        *(
            {**HELLO, "spec": {**PLAIN_SPEC, "obs_dim": value}}
            for value in (0, -1, 65_537, 1 << 63, True, 3.0, "3", None)
        ),
        *({**HELLO, "spec": {**PLAIN_SPEC, "action_dim": value}} for value in (0, 65_537, [2])),
        *({**HELLO, "spec": {**PLAIN_SPEC, "n_step": value}} for value in (0, 65_537, 1.0)),
        *(
            {**HELLO, "spec": {**PLAIN_SPEC, "discount": value}}
            for value in (-0.1, 1.1, float("nan"), "1", True)
        ),
        *({**HELLO, "spec": {**PLAIN_SPEC, "env": value}} for value in (None, 1, b"env")),
        *({**HELLO, "spec": {**PLAIN_SPEC, "action_low": value}} for value in ([], [0.0], [0.0] * 3, 0.0)),
        *(
            {**HELLO, "spec": {**PLAIN_SPEC, "action_high": [value, 1.0]}}
            for value in (float("nan"), float("inf"), "1")
        ),
        {**HELLO, "spec": {**PLAIN_SPEC, "more": 1}},
        *({**HELLO, "spec": {**PLAIN_SPEC, "obs_fields": value}} for value in UNFIT_FIELDS),
        {**HELLO, "spec": {name: value for name, value in PLAIN_SPEC.items() if name != "env"}},
        {**BATCH, "digest": b"short"},
        {**BATCH, "digest": "12345678"},
        {**BATCH, "seq": (1 << 45) - 1},
        {**BATCH, "rows": [1]},
        {**WEIGHTS, "policy": {}},
        {**STATUS, "state": "exploding"},
        {**STATUS, "metrics": {"a": float("nan")}},
        {**STATUS, "metrics": {"a": float("inf")}},
        {**STATUS, "metrics": {"a": "1"}},
        {**STATUS, "actors": {"a": "dead"}},
        {**STATUS, "actors": {"a b": "gone"}},
        {**EVALUATION, "episodes": []},
        {**EVALUATION, "episodes": [[float("nan"), 1, None, 2]]},
        {**EVALUATION, "episodes": [[float("-inf"), 1, None, 2]]},
        {**EVALUATION, "episodes": [[1.7e308, 1, None, 2]]},
        {**EVALUATION, "episodes": [[0.0, -1, None, 2]]},
        {**EVALUATION, "episodes": [[0.0, 1, 1, 2]]},
        {**EVALUATION, "episodes": [[0.0, 1, None]]},
        {**EVALUATION, "episodes": [0.0]},
        {**EVALUATION, "episodes": "no"},
        {**ACK, "next_seq": msgpack.ExtType(5, b"x")},
        {**ACK, "next_seq": msgpack.ExtType(5, b"")},
        {**ACK, "next_seq": msgpack.Timestamp(1)},
        {**ACK, "next_seq": msgpack.Timestamp(1 << 40, 7)},
        [],
        None,
        7,
        "ack",
        msgpack.packb(ACK) * 2,
        b"",
        b"\xc1",
        b"\x81\xa4kind\xa3\xff\xfe\xfd",
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
    ],
    ids=lambda header: str(header)[-60:],
)
def test_a_wrong_header_is_refused(header: Any) -> None:
    rows = ROW if isinstance(header, dict) and header.get("kind") == "batch" else b""
    refuse(make_frame(header, rows))


@pytest.mark.parametrize(
    "opening", [b"\x91", b"\x81\xa1a", b"\xdd\x00\x00\xf0\x00", b"\xdc\x10\x00", b"\xdf\x00\x00\xf0\x00\xa1a"]
)
@pytest.mark.parametrize("depth", [100, 600, 1100, 50_000])
def test_deep_nesting_is_refused_and_stays_small(opening: bytes, depth: int) -> None:
    header = opening * depth
    refuse(make_frame(header + b"\xc0" * max(0, (1 << 17) - len(header))), peak_bytes=64 << 20)


def test_a_header_beyond_the_frame_or_the_limit_is_refused() -> None:
    for header_bytes in (1, 1 << 20, (1 << 32) - 1):
        refuse(seal(PREFIX.pack(MAGIC, VERSION, 0, header_bytes, 0)))
    refuse(make_frame({**ACK, "more": "x" * MAX_HEADER_BYTES}))
    refuse(seal(PREFIX.pack(MAGIC, VERSION + 1, 0, 0, 0)))
    refuse(seal(PREFIX.pack(MAGIC, VERSION, 1, 0, 0)))
    refuse(seal(PREFIX.pack(b"GFLU", VERSION, 0, 0, 0)))


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)


@given(data=st.data())
def test_any_field_may_hold_anything(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(golden_messages())))
    frame = encode(golden_messages()[kind])
    header_bytes = struct.unpack_from("<I", frame, 8)[0]
    header = msgpack.unpackb(frame[16 : 16 + header_bytes])
    header[data.draw(st.sampled_from([*header, "new"]))] = data.draw(anything)
    try:
        message = decode(make_frame(header, frame[16 + header_bytes :]))
    except ProtocolError:
        return
    encode(message)  # whatever is let in can be said again
