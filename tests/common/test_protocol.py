"""The codec: what goes in comes out, frozen frames stay readable, and no damaged frame gets through."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from graspfleet.common.errors import ProtocolError
from graspfleet.common.fields import MAX_EPISODES
from graspfleet.common.messages import (
    KINDS,
    Ack,
    Batch,
    Bye,
    Evaluation,
    EvaluationStarted,
    Hello,
    Message,
    Refusal,
    Status,
    Weights,
)
from graspfleet.common.observations.fields import MAX_DIM, ObsField
from graspfleet.common.protocol import DTYPES, OLDEST_POLICY, VERSION, decode, encode
from graspfleet.common.specs import EnvSpec
from tests.common.golden import golden_file, golden_messages
from tests.fakes import SPEC, make_batch, make_records, seal

GOLDEN = golden_messages()

counts = st.integers(0, (1 << 45) - 2)
roles = st.sampled_from(["actor", "evaluator"])
states = st.sampled_from(["alive", "late", "gone", "left", "refused"])
lines = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
actor_ids = st.from_regex(r"\A[A-Za-z0-9._-]{1,64}\Z")
session_ids = st.from_regex(r"\A[0-9a-f]{16}\Z")
floats = st.floats(allow_nan=False, allow_infinity=False)
returns = st.floats(-1e100, 1e100)
episodes = st.tuples(returns, counts, st.none() | st.booleans(), counts)
bounds = st.none() | st.lists(floats, min_size=3, max_size=3).map(tuple)
fields = st.lists(
    st.builds(
        ObsField,
        name=st.from_regex(r"\A[!-~]{1,64}\Z"),
        shape=st.lists(st.integers(1, 4), max_size=4).map(tuple),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda field: field.name,
).map(tuple)
specs = st.builds(
    lambda obs, **others: EnvSpec(**obs, **others),
    obs=st.integers(1, MAX_DIM).map(lambda size: {"obs_dim": size})
    | fields.map(lambda obs: {"obs_dim": sum(field.size for field in obs), "obs_fields": obs}),
    env=st.text(max_size=8),
    action_dim=st.just(3),
    discount=st.floats(0, 1),
    n_step=st.integers(1, MAX_DIM),
    action_low=bounds,
    action_high=bounds,
)
rows = arrays.arrays(np.uint8, st.tuples(st.integers(0, 5), st.integers(0, 9)))
floats_f4 = arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3))
batches = st.builds(
    Batch,
    actor_id=actor_ids,
    session_id=session_ids,
    seq=counts,
    digest=st.binary(min_size=8, max_size=8),
    weights_version=counts,
    produced=counts,
    discarded=counts,
    episodes=st.lists(episodes, max_size=4).map(tuple),
    rows=rows,
)
messages: dict[str, st.SearchStrategy[Message]] = {
    "batch": batches,
    "hello": st.builds(
        Hello,
        actor_id=actor_ids,
        session_id=session_ids,
        next_seq=counts,
        spec=specs,
        role=roles,
        answer=counts,
    ),
    "bye": st.builds(Bye, actor_id=actor_ids, session_id=session_ids, next_seq=counts, role=roles),
    "evaluation": st.builds(
        Evaluation,
        actor_id=actor_ids,
        session_id=session_ids,
        weights_version=counts,
        env_steps=counts,
        episodes=st.lists(episodes, min_size=1, max_size=4).map(tuple),
    ),
    "evaluation_started": st.builds(
        EvaluationStarted,
        actor_id=actor_ids,
        session_id=session_ids,
        weights_version=counts,
        env_steps=counts,
    ),
    "weights": st.builds(
        Weights,
        version=counts,
        env_steps=counts,
        updates=counts,
        spec=specs,
        policy=st.dictionaries(st.text(max_size=4), floats_f4, max_size=4),
        ema=st.dictionaries(st.text(max_size=4), floats_f4, max_size=4),
    ),
    "ack": st.builds(Ack, session_id=session_ids, next_seq=counts, challenge=counts),
    "refusal": st.builds(
        Refusal,
        session_id=session_ids,
        key=st.from_regex(r"\A[!-~]{0,40}\Z"),
        reason=st.from_regex(r"\A[a-z-]{1,32}\Z"),
        detail=lines,
    ),
    "status": st.builds(
        Status,
        state=st.sampled_from(["waiting", "running", "draining", "done"]),
        metrics=st.dictionaries(st.text(max_size=8), floats | counts, max_size=4),
        actors=st.dictionaries(actor_ids, states, max_size=4),
        evaluators=st.dictionaries(actor_ids, states, max_size=4),
        refused=st.dictionaries(actor_ids, lines, max_size=4),
    ),
}


def content(message: Message) -> tuple[Any, ...]:
    """Everything that a message says, bit for bit."""
    plain = {
        name: repr(getattr(message, name))
        for name in type(message).model_fields
        if name not in message.carried
    }
    table = {name: (array.dtype, array.shape, array.tobytes()) for name, array in message.arrays().items()}
    return type(message), plain, table


def test_every_kind_of_message_has_a_strategy_and_a_golden_file() -> None:
    assert messages.keys() == KINDS.keys() == GOLDEN.keys()
    assert {path.stem for path in golden_file("ack").parent.glob("*.bin")} == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_message_comes_out_as_it_went_in(kind: str, data: st.DataObject) -> None:
    message = data.draw(messages[kind])
    assert content(decode(encode(message))) == content(message)


@pytest.mark.parametrize("kind", KINDS)
def test_golden_bytes_are_written_and_read_as_ever(kind: str) -> None:
    frame = golden_file(kind).read_bytes()
    assert encode(GOLDEN[kind]) == frame
    assert content(decode(frame)) == content(GOLDEN[kind])


def test_decoded_arrays_are_read_only_views_of_the_frame() -> None:
    frame = bytearray(golden_file("batch").read_bytes())
    batch = decode(memoryview(frame).toreadonly())
    assert isinstance(batch, Batch)
    assert not batch.rows.flags.writeable
    assert np.shares_memory(batch.rows, np.frombuffer(frame, np.uint8))


def test_only_the_allowed_dtypes_can_be_encoded() -> None:
    for dtype in DTYPES.values():
        encode(Weights(version=0, env_steps=0, updates=0, spec=SPEC, policy={"w": np.zeros(2, dtype)}))
    with pytest.raises(KeyError):
        encode(Weights(version=0, env_steps=0, updates=0, spec=SPEC, policy={"w": np.zeros(2, np.float64)}))


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_refused(kind: str) -> None:
    frame = golden_file(kind).read_bytes()
    for end in range(len(frame)):
        with pytest.raises(ProtocolError):
            decode(frame[:end])


@pytest.mark.parametrize("kind", KINDS)
def test_every_single_flipped_bit_is_refused(kind: str) -> None:
    frame = bytearray(golden_file(kind).read_bytes())
    for bit in range(8 * len(frame)):
        frame[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProtocolError):
            decode(bytes(frame))
        frame[bit // 8] ^= 1 << bit % 8
    decode(bytes(frame))


@given(message=st.one_of(list(messages.values())), data=st.data())
def test_damage_anywhere_is_refused(message: Message, data: st.DataObject) -> None:
    frame = encode(message)
    at = data.draw(st.integers(0, len(frame) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=12))
    damaged = frame[:at] + patch + frame[at + len(patch) :]
    if damaged != frame:
        with pytest.raises(ProtocolError):
            decode(damaged)


@given(garbage=st.binary(max_size=64))
def test_garbage_is_refused(garbage: bytes) -> None:
    for frame in (garbage, golden_file("ack").read_bytes() + garbage + b"\0"):
        with pytest.raises(ProtocolError):
            decode(frame)


def test_a_batch_carries_no_more_episodes_than_the_limit() -> None:
    full = make_batch(make_records(1), episodes=((1e100, 1, None, (1 << 45) - 1),) * MAX_EPISODES)
    assert content(decode(encode(full))) == content(full)
    with pytest.raises(ValueError, match="episodes"):
        make_batch(make_records(1), episodes=((0.0, 1, None, 0),) * (MAX_EPISODES + 1))


def test_a_frame_of_another_version_is_named_and_a_damaged_one_is_not() -> None:
    for version in (VERSION + 1, VERSION - 1):
        frame = bytearray(golden_file("ack").read_bytes())
        frame[4] = version
        with pytest.raises(ProtocolError, match="checksum"):
            decode(bytes(frame))
        with pytest.raises(ProtocolError, match=f"version: {version}, allowed {VERSION}") as caught:
            decode(seal(bytes(frame)))
        assert caught.value.reason == "version"


def test_policy_files_of_earlier_versions_are_still_read() -> None:
    kept = Path(__file__).parents[2] / "docs" / "results" / "held-out" / "policy-best.gfp"
    frame = kept.read_bytes()
    assert isinstance(decode(frame, oldest=OLDEST_POLICY), Weights)
    with pytest.raises(ProtocolError, match="version: 1"):
        decode(frame)
