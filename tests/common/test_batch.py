"""Batch.records: only sound transitions of the right spec come out of a peer's rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graspfleet.common.errors import ProtocolError
from graspfleet.common.messages import Batch
from graspfleet.common.specs import EnvSpec
from tests.fakes import SPEC, make_batch, make_records


def batch_with(column: str, value: float) -> Batch:
    records = make_records(3)
    records[column][1] = value
    return make_batch(records)


@pytest.mark.parametrize("column", ["obs", "next_obs", "action", "reward", "discount"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_batch_with_a_number_that_is_none_is_refused(column: str, value: float) -> None:
    with pytest.raises(ProtocolError) as caught:
        batch_with(column, value).records(SPEC)
    assert caught.value.reason == "not-finite"


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("action", 1.0001, "action"),
        ("action", -1.0001, "action"),
        ("discount", -0.0001, "discount"),
        ("discount", 1.0001, "discount"),
    ],
)
def test_a_batch_with_a_number_out_of_range_is_refused(column: str, value: float, reason: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        batch_with(column, value).records(SPEC)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("column", "value"), [("action", 1), ("action", -1), ("discount", 0), ("discount", 1)]
)
def test_the_ends_of_the_ranges_are_allowed(column: str, value: float) -> None:
    assert batch_with(column, value).records(SPEC)[column][1].max() == value


@pytest.mark.parametrize("byte", [-4, -3])
@pytest.mark.parametrize("value", [2, 128, 255])
def test_a_flag_that_is_neither_0_nor_1_is_refused(byte: int, value: int) -> None:
    rows = make_batch(make_records(3)).rows.copy()
    rows[1, byte] = value
    with pytest.raises(ProtocolError) as caught:
        make_batch(make_records(3), rows=rows).records(SPEC)
    assert caught.value.reason == "flags"


def test_rows_of_another_spec_or_shape_are_refused() -> None:
    other = EnvSpec(
        env=SPEC.env,
        obs_dim=SPEC.obs_dim,
        action_dim=SPEC.action_dim,
        discount=SPEC.discount,
        n_step=SPEC.n_step + 1,
    )
    batch = make_batch(make_records(2))
    with pytest.raises(ProtocolError, match="spec"):
        batch.records(other)
    size = SPEC.record.itemsize
    shapes: list[tuple[int, ...]] = [(), (size,), (2, size - 1), (2, size + 4), (1, 2, size), (0, 0)]
    for shape in shapes:
        with pytest.raises(ProtocolError, match="shape"):
            make_batch(make_records(2), rows=np.zeros(shape, np.uint8)).records(SPEC)
    with pytest.raises(ProtocolError, match="spec"):
        make_batch(make_records(2), rows=np.zeros((2, size), np.float32)).records(SPEC)


@given(rows=st.binary(min_size=2 * SPEC.record.itemsize, max_size=2 * SPEC.record.itemsize))
def test_whatever_the_rows_are_only_sound_transitions_come_out(rows: bytes) -> None:
    batch = make_batch(make_records(2), rows=np.frombuffer(rows, np.uint8).reshape(2, -1))
    try:
        records = batch.records(SPEC)
    except ProtocolError:
        return
    assert np.isfinite(records["obs"]).all()
    assert np.isfinite(records["reward"]).all()
    assert np.abs(records["action"]).max() <= 1
