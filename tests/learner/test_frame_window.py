"""A session's frames are found where they are stored, as far back as its batches may refer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graspfleet.common.errors import ProtocolError
from graspfleet.common.specs import MAX_FRAME_REFERENCE
from graspfleet.learner.experience.peers.frame_window import MISSING, FrameWindow


def test_frames_before_the_first_batch_are_missing() -> None:
    assert set(FrameWindow().numbers(0)) == {MISSING}


def test_frames_of_a_lost_batch_are_missing_and_later_ones_are_found() -> None:
    window = FrameWindow()
    window.add(0, 100, 2)
    window.add(5, 200, 1)  # 2, 3 and 4 were lost
    assert window.numbers(6)[-6:].tolist() == [100, 101, MISSING, MISSING, MISSING, 200]


batches = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40), st.booleans()), max_size=30)
"""(frames, frames of others before them, whether the batch is lost)."""


@given(batches)
def test_the_window_is_what_a_list_of_all_frames_would_be(sent: list[tuple[int, int, bool]]) -> None:
    window, everything, stored = FrameWindow(), [int(MISSING)] * MAX_FRAME_REFERENCE, 0
    for count, others, is_lost in sent:
        first = len(everything) - MAX_FRAME_REFERENCE
        assert window.numbers(first).tolist() == everything[-MAX_FRAME_REFERENCE:]
        stored += others
        everything += [int(MISSING)] * count if is_lost else range(stored, stored + count)
        if not is_lost:
            window.require_next(first)
            window.add(first, stored, count)
            stored += count
        assert len(window.ranges) <= MAX_FRAME_REFERENCE
        window = FrameWindow(window.ranges)


def test_a_number_is_not_used_twice() -> None:
    window = FrameWindow()
    window.add(0, 100, 2)
    with pytest.raises(ProtocolError, match="first frame 1, allowed at least 2"):
        window.require_next(1)
