"""The experience channel's turns, over real sockets: nobody waits behind another's backlog."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from graspfleet.common.net.experience import RECEIVES_PER_CHECK, ExperienceReceiver, ExperienceSender
from graspfleet.common.settings.transport import TransportConfig
from tests.end_to_end.harness import until

HOST = "127.0.0.1"
CONFIG = TransportConfig(experience_hwm=1000)
NUM_QUEUED = 400
"""More than libzmq takes from one peer before it looks at the others by itself (100)."""


@contextmanager
def connected(num_senders: int) -> Iterator[tuple[ExperienceReceiver, list[ExperienceSender]]]:
    """Yield a receiver and senders of which each has delivered one frame."""
    with ExitStack() as stack:
        receiver = stack.enter_context(ExperienceReceiver(CONFIG))
        port = receiver.bind(HOST, 0, "experience_port")
        senders = [stack.enter_context(ExperienceSender(CONFIG)) for _ in range(num_senders)]
        for sender in senders:
            sender.connect(HOST, port)
            assert sender.send(b"hello")
            until(lambda: receiver.wait(0.1) and receiver.receive(), "it has arrived")
        yield receiver, senders


@pytest.mark.parametrize("num_quiet", [1, 3])
def test_a_single_frame_is_heard_within_a_few_receives_beside_a_backlog(num_quiet: int) -> None:
    with connected(1 + num_quiet) as (receiver, senders), connected(1) as (echo, (echoing,)):

        def everything_arrives() -> None:
            """One I/O thread carries all sockets of this process, in the order of sending."""
            for _ in range(3):
                assert echoing.send(b"")
                until(lambda: echo.wait(0.1) and echo.receive(), "the echo has arrived")

        busy, *quiet = senders
        for _ in range(NUM_QUEUED):
            assert busy.send(b"batch")
        everything_arrives()
        frames = [receiver.receive() for _ in range(2 * RECEIVES_PER_CHECK)]  # libzmq settles on the busy one
        for sender in quiet:
            assert sender.send(b"evaluation")
        everything_arrives()
        frames += [receiver.receive() for _ in range(RECEIVES_PER_CHECK + 2 * num_quiet)]
        found = [bytes(received.frame) for received in frames if received is not None]
        assert found.count(b"evaluation") == num_quiet
        assert found.count(b"batch") == len(frames) - num_quiet
