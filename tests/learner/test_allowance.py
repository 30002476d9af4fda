"""The account of what a connection has sent and the learner has not taken."""

from dataclasses import dataclass, field

from graspfleet.common.net.experience import MESSAGE_OVERHEAD_BYTES
from graspfleet.learner.access.limits import HANDSHAKE_BYTES, SUBSCRIBER_BYTES, WELCOMED_BYTES, Allowance
from graspfleet.learner.access.tcp import ESTABLISHED, TcpState

DESCRIPTOR = 7
LIMIT = 10_000
PINGS_BYTES = 84
"""Of each second: an answer and a question, encrypted."""


@dataclass
class Queue:
    """What libzmq would hold for one connection."""

    taken: dict[int, int] = field(default_factory=dict)
    emptied: int = 0
    received: int = 600

    def take(self, size_bytes: int) -> None:
        self.taken[DESCRIPTOR] = self.taken.get(DESCRIPTOR, 0) + size_bytes + MESSAGE_OVERHEAD_BYTES


def make_allowance(queue: Queue | None) -> Allowance:
    return Allowance(DESCRIPTOR, queue, unread_bytes=LIMIT, welcomed=False)


def exceeded(allowance: Allowance, received: int, *, acknowledged: int = WELCOMED_BYTES + 50) -> bool:
    return allowance.exceeded(TcpState(ESTABLISHED, acknowledged, received), allowance.taken)


def test_before_it_is_let_in_a_connection_may_send_a_handshake() -> None:
    allowance = make_allowance(Queue())
    assert not exceeded(allowance, HANDSHAKE_BYTES, acknowledged=WELCOMED_BYTES)
    assert exceeded(allowance, HANDSHAKE_BYTES + 1, acknowledged=WELCOMED_BYTES)
    assert allowance.excess[0] == "cut_handshakes"
    assert not exceeded(allowance, HANDSHAKE_BYTES + 1)
    assert allowance.welcomed


def test_an_honest_sender_is_never_cut_however_long_it_is_there() -> None:
    queue = Queue()
    allowance = make_allowance(queue)
    for second in range(100_000):
        for _ in range(1 + second % 3):
            queue.received += 500 + 42
            queue.take(500)
        queue.received += PINGS_BYTES
        assert not exceeded(allowance, queue.received)


def test_nobody_saves_up_for_a_large_one() -> None:
    queue = Queue()
    allowance = make_allowance(queue)
    for _ in range(10_000):  # each counts for more than it was
        queue.received += 1 + 42
        queue.take(1)
        assert not exceeded(allowance, queue.received)
    assert exceeded(allowance, queue.received + LIMIT + 1)


def test_what_was_taken_over_an_earlier_connection_of_the_number_does_not_count() -> None:
    queue = Queue()
    queue.take(10 * LIMIT)
    assert exceeded(make_allowance(queue), LIMIT + 1)


def test_all_that_a_subscriber_sends_counts() -> None:
    allowance = make_allowance(None)
    assert not exceeded(allowance, SUBSCRIBER_BYTES)
    assert exceeded(allowance, SUBSCRIBER_BYTES + 1)
