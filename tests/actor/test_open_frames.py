"""Frames are sent once, and again only to a learner that no longer has to remember them."""

import struct

import pytest

from graspfleet.actor.open_frames import OpenFrames
from graspfleet.common.observations.fields import Frame
from graspfleet.common.specs import MAX_FRAME_REFERENCE, EnvSpec
from tests.fakes import IMAGE_SPEC, SPEC, numbers_of, observe


def frame(number: int) -> Frame:
    made = observe(number).frame
    assert made is not None
    return made


def refer(frames: OpenFrames, *pair: Frame) -> tuple[int, ...]:
    """Return the references of a transition, counted from the first frame of the batch."""
    places = struct.unpack("<QQ", frames.refer(*pair))
    return tuple(place - MAX_FRAME_REFERENCE for place in places)


def test_consecutive_transitions_share_a_frame() -> None:
    frames, first, second, third = OpenFrames(IMAGE_SPEC), frame(1), frame(2), frame(3)
    assert refer(frames, first, second) == (0, 1)
    assert refer(frames, second, third) == (1, 2)
    number, pixels = frames.take()
    assert (number, numbers_of(pixels)) == (0, [1, 2, 3])


def test_a_frame_of_an_earlier_batch_is_not_sent_again() -> None:
    frames, first, second, third = OpenFrames(IMAGE_SPEC), frame(1), frame(2), frame(3)
    refer(frames, first, second)
    frames.take()
    assert refer(frames, second, third) == (-1, 0)
    number, pixels = frames.take()
    assert (number, numbers_of(pixels)) == (2, [3])
    assert refer(frames, third, third) == (-1, -1)
    assert not frames.take()[1].size


def test_a_frame_is_referred_to_as_far_back_as_the_learner_remembers() -> None:
    frames, old = OpenFrames(IMAGE_SPEC), frame(0)
    refer(frames, old, old)
    for number in range(1, MAX_FRAME_REFERENCE):
        new = frame(number)
        refer(frames, new, new)
    frames.take()
    assert refer(frames, old, old) == (-MAX_FRAME_REFERENCE,) * 2
    new = frame(1000)
    refer(frames, new, new)
    frames.take()
    assert refer(frames, old, old) == (0, 0)
    assert numbers_of(frames.take()[1]) == [0]


def test_a_batch_is_full_before_one_more_transition_could_exceed_its_limit() -> None:
    image = {"name": "image", "shape": (1024, 512), "dtype": "u1"}
    large = EnvSpec(env="a", obs_dim=0, action_dim=1, discount=0.9, n_step=1, obs_fields=(image,))
    assert (SPEC.max_batch_frames, large.max_batch_frames) == (0, 2)
    frames = OpenFrames(large)
    assert not frames.is_full
    one = Frame(observe(1, large).frame.pixels)  # type: ignore[union-attr]
    frames.refer(one, one)
    assert frames.is_full
    assert frames.size_bytes == 1024 * 512


def test_an_observation_without_its_frame_is_a_mistake_of_ours() -> None:
    for wrong in (None, Frame(frame(1).pixels[:-1])):
        with pytest.raises(ValueError, match="without a frame of 64 bytes"):
            OpenFrames(IMAGE_SPEC).refer(frame(1), wrong)
