"""The sender's half of the delivery guarantee, and the link that moves its frames; no socket, no clock."""

from collections import deque

import numpy as np
import pytest

from graspfleet.actor.learner_client import LearnerClient
from graspfleet.actor.subscriber import Subscriber
from graspfleet.actor.writer import MAX_PARTIAL_BATCHES, MAX_PATIENCE, Writer
from graspfleet.common.fields import MAX_EPISODES
from graspfleet.common.messages import Ack, Batch, Bye, Hello, Message
from graspfleet.common.net.experience import ExperienceSender
from graspfleet.common.observations.fields import Observation
from graspfleet.common.protocol import decode
from graspfleet.common.transition import Transition
from tests.fakes import OTHER_SESSION, SESSION, SPEC, add_transition, make_writer


def fill(writer: Writer, batches: int, max_batch_transitions: int = 2) -> None:
    for number in range(batches * max_batch_transitions):
        add_transition(writer, number)


def send_all(writer: Writer, now_s: float) -> list[int]:
    """Send what can be sent; return the numbers of the batches."""
    numbers = []
    while (frame := writer.next_frame(now_s)) is not None:
        batch = decode(frame)
        assert isinstance(batch, Batch)
        numbers.append(batch.seq)
        writer.sent(now_s)
    return numbers


def read(frame: bytes | None) -> Batch:
    assert frame is not None
    batch = decode(frame)
    assert isinstance(batch, Batch)
    return batch


def test_a_full_batch_is_sealed_with_everything_in_it() -> None:
    writer = make_writer()
    writer.weights_version, writer.discarded = 7, 1
    writer.add_episode((1.5, 3, True, 9))
    fill(writer, 1)
    batch = read(writer.next_frame(0.0))
    records = batch.records(SPEC)
    assert records["reward"].tolist() == [0.0, 1.0]
    assert records["obs"].tolist() == [[0.0] * 3, [1.0] * 3]
    assert (batch.seq, batch.weights_version, batch.produced, batch.discarded) == (0, 7, 2, 1)
    assert batch.episodes == ((1.5, 3, True, 9),)


def test_transitions_are_copied() -> None:
    writer = make_writer()
    obs, action = np.ones(3, np.float32), np.zeros(2, np.float32)
    writer.add(Transition(Observation(obs), Observation(obs), action, 0.0, 0.5, True, False))
    obs[:] = 5.0
    add_transition(writer, 1)
    records = read(writer.next_frame(0.0)).records(SPEC)
    assert records["obs"][0].tolist() == [1.0] * 3
    assert records["terminated"].tolist() == [True, False]


def test_every_field_is_where_the_record_has_it() -> None:
    writer, rng = make_writer(max_batch_transitions=1), np.random.default_rng(0)
    obs, next_obs, action = (rng.uniform(-1, 1, size).astype(np.float32) for size in (3, 3, 2))
    every_other = np.repeat(obs, 2)[::2]  # not contiguous, but the same numbers
    writer.add(Transition(Observation(every_other), Observation(next_obs), action, 2.5, 0.25, False, True))
    expected = np.array([(obs, next_obs, action, 2.5, 0.25, False, True, False, 0)], SPEC.record)
    assert read(writer.next_frame(0.0)).rows.tobytes() == expected.tobytes()


def test_arrays_of_another_size_or_precision_are_refused() -> None:
    writer, obs, action = make_writer(), np.zeros(3, np.float32), np.zeros(2, np.float32)
    for wrong in (np.zeros(4, np.float32), np.zeros(3, np.float64)):
        with pytest.raises(ValueError, match="bytes, allowed"):
            writer.add(Transition(Observation(obs), Observation(wrong), action, 0.0, 0.5, False, False))
    assert writer.produced == 0


def test_an_incomplete_batch_waits_its_time_and_no_longer() -> None:
    writer = make_writer(max_batch_delay_s=1.0)
    add_transition(writer, 0)
    assert writer.next_frame(10.0) is None
    assert writer.next_frame(10.9) is None
    assert len(read(writer.next_frame(11.0)).rows) == 1
    writer.sent(11.0)
    add_transition(writer, 1)  # the next one waits anew
    assert writer.next_frame(11.5) is None
    assert read(writer.next_frame(12.5)).seq == 1


def test_an_episode_travels_even_without_a_transition() -> None:
    writer = make_writer(max_batch_delay_s=0.0)
    writer.add_episode((1.0, 2, None, 3))
    assert not writer.is_empty
    batch = read(writer.next_frame(0.0))
    assert (batch.rows.shape, batch.episodes) == ((0, SPEC.record.itemsize), ((1.0, 2, None, 3),))
    assert len(batch.records(SPEC)) == 0


def test_more_episodes_than_a_message_may_carry_take_several() -> None:
    writer = make_writer(max_batch_transitions=65_536)
    for number in range(MAX_EPISODES + 1):
        writer.add_episode((float(number), 1, None, 0))
    writer.seal()
    assert len(read(writer.next_frame(0.0)).episodes) == MAX_EPISODES
    writer.sent(0.0)
    assert len(read(writer.next_frame(0.0)).episodes) == 1


def test_the_window_is_bounded_and_an_ack_makes_room() -> None:
    writer = make_writer(max_unacked_transitions=6)
    fill(writer, 3)
    assert not writer.has_room()
    assert send_all(writer, 0.0) == [0, 1, 2]
    writer.acknowledge(1, 0.0, room=6)
    assert (writer.has_room(2), writer.has_room(3), writer.unacked) == (True, False, 4)


def test_a_learner_that_has_said_nothing_yet_is_sent_one_batch() -> None:
    writer = make_writer(max_unacked_transitions=6, max_unanswered_transitions=2)
    fill(writer, 1)
    assert (writer.has_room(1), writer.unacked) == (False, 2)
    writer.acknowledge(0, 0.0, room=6)
    assert writer.has_room(4)


def test_the_learner_may_allow_fewer_transitions_but_not_more() -> None:
    writer = make_writer(max_unacked_transitions=6)
    writer.acknowledge(0, 0.0, room=1)
    assert writer.has_room(1)
    assert writer.has_room(3)  # one turn of three environments, with nothing unacknowledged
    add_transition(writer, 0)
    assert not writer.has_room(1)
    writer.acknowledge(0, 0.0, room=1 << 30)
    assert (writer.has_room(5), writer.has_room(6)) == (True, False)
    writer.acknowledge(0, 0.0, room=0)
    writer.seal()
    writer.acknowledge(1, 0.0, room=0)
    assert not writer.has_room()  # the run is over


def test_memory_is_bounded_whatever_the_learner_allows() -> None:
    writer = make_writer(max_unacked_transitions=1 << 24, max_unacked_bytes=1 << 16, max_batch_transitions=4)
    added = 0
    while writer.fits(3):
        for _ in range(3):  # a turn of three environments, each of which ends an episode
            add_transition(writer, added)
            writer.add_episode((1e100, 1 << 40, True, 1 << 40))
            added += 1
    frames = []
    while (frame := writer.next_frame(0.0)) is not None:
        frames.append(frame)
        writer.sent(0.0)
    assert 1 << 15 < sum(map(len, frames)) <= 1 << 16
    assert not writer.has_room(3)


def test_many_small_batches_on_their_way_make_the_next_one_wait_to_fill() -> None:
    writer = make_writer(max_unacked_transitions=100, max_batch_delay_s=0.0)
    for number in range(MAX_PARTIAL_BATCHES + 1):
        add_transition(writer, number)
        send_all(writer, 100.0)
    assert writer.next_seq == MAX_PARTIAL_BATCHES
    assert send_all(writer, 200.0) == []
    writer.acknowledge(1, 200.0)
    assert send_all(writer, 200.0) == [MAX_PARTIAL_BATCHES]


def test_a_learner_that_has_not_answered_yet_is_sent_nothing_twice() -> None:
    writer = make_writer(resend_after_s=5.0)
    fill(writer, 3)
    assert send_all(writer, 0.0) == [0, 1, 2]
    assert send_all(writer, 1000.0) == []  # it may be starting: the frames lie where it will find them
    writer.acknowledge(0, 1000.0)
    assert send_all(writer, 1000.0) == [0, 1, 2]
    assert writer.resent == 3


def test_what_the_learner_never_took_is_sent_again_with_growing_patience() -> None:
    writer = make_writer(resend_after_s=5.0)

    def heard(now_s: float) -> list[int]:
        writer.acknowledge(0, now_s)
        return send_all(writer, now_s)

    fill(writer, 3)
    assert send_all(writer, 0.0) == [0, 1, 2]
    assert heard(5.0) == []
    assert heard(5.1) == [0, 1, 2]
    assert writer.resent == 3
    assert heard(15.0) == []  # and the next wait is twice as long
    assert heard(15.2) == [0, 1, 2]
    now_s = 15.2
    for _ in range(10):
        now_s += MAX_PATIENCE * 5.0 + 0.1
        assert heard(now_s) == [0, 1, 2]
    writer.acknowledge(1, now_s)
    writer.acknowledge(1, now_s + 5.1)
    assert send_all(writer, now_s + 5.1) == [1, 2]  # progress: patience begins anew


def test_what_the_learner_holds_is_not_sent_again_unless_it_forgets() -> None:
    writer = make_writer(resend_after_s=5.0)
    fill(writer, 3)
    assert send_all(writer, 0.0) == [0, 1, 2]
    writer.acknowledge(0, 1.0, held=3)
    writer.acknowledge(0, 900.0, held=3)
    assert send_all(writer, 900.0) == []
    writer.acknowledge(0, 901.0, held=2)  # the last one never arrived
    assert send_all(writer, 901.0) == [2]
    writer.acknowledge(0, 910.0, held=0)  # killed and started again
    assert send_all(writer, 920.0) == [0, 1, 2]
    writer.acknowledge(3, 921.0)
    assert writer.is_empty


def test_progress_puts_the_resending_off() -> None:
    writer = make_writer(resend_after_s=5.0)
    fill(writer, 3)
    send_all(writer, 0.0)
    writer.acknowledge(1, 4.0)
    writer.acknowledge(1, 5.0)
    assert send_all(writer, 8.9) == []
    assert send_all(writer, 9.1) == [1, 2]


@pytest.mark.parametrize("next_seq", [0, 1, 4, 1 << 62])
def test_an_ack_from_before_or_beyond_the_window_changes_nothing(next_seq: int) -> None:
    writer = make_writer()
    fill(writer, 3)
    send_all(writer, 0.0)
    writer.acknowledge(1, 0.0)
    before = writer.hello()
    writer.acknowledge(next_seq, 4.9)
    assert writer.hello() == before
    assert (writer.next_seq, writer.unacked) == (3, 4)
    assert send_all(writer, 5.1) == [1, 2]  # it is no progress either


def test_an_ack_of_what_was_sealed_and_went_back_unsent_is_taken() -> None:
    writer = make_writer()
    fill(writer, 3)
    send_all(writer, 0.0)
    writer.acknowledge(0, 6.0)
    assert writer.next_frame(6.0) is not None  # gone back to 0, nothing sent again yet
    writer.acknowledge(2, 6.0)
    assert send_all(writer, 6.0) == [2]
    writer.acknowledge(3, 6.0)
    assert writer.is_empty


def test_hello_says_what_is_kept_and_bye_what_was_sent() -> None:
    writer = make_writer()
    fill(writer, 2)
    send_all(writer, 0.0)
    writer.acknowledge(1, 0.0)
    assert decode(writer.hello()) == Hello(actor_id="a", session_id=SESSION, next_seq=1, spec=SPEC)
    assert decode(writer.bye()) == Bye(actor_id="a", session_id=SESSION, next_seq=2)


class FakeSubscriber(Subscriber):
    """Hands out what a test puts into it."""

    def __init__(self) -> None:
        self.messages: deque[Message] = deque()
        self.refused = False

    def next_control(self) -> Message | None:
        return self.messages.popleft() if self.messages else None


class FakeSender(ExperienceSender):
    """Takes `room` frames."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken: list[Message] = []

    def send(self, frame: bytes) -> bool:
        if len(self.taken) < self.room:
            self.taken.append(decode(frame))
            return True
        return False

    def numbers(self) -> list[int]:
        return [message.seq for message in self.taken if isinstance(message, Batch)]


def test_the_link_says_hello_first_and_sends_what_the_socket_takes() -> None:
    writer, sender = make_writer(), FakeSender(room=2)
    fill(writer, 3)
    client = LearnerClient(writer, FakeSubscriber(), sender)
    client.poll()
    assert isinstance(sender.taken[0], Hello)
    assert sender.numbers() == [0]
    sender.room = 10
    client.poll()
    assert sender.numbers() == [0, 1, 2]


def test_the_link_hears_only_acks_of_its_own_boot() -> None:
    writer, subscriber = make_writer(), FakeSubscriber()
    fill(writer, 3)
    client = LearnerClient(writer, subscriber, FakeSender(room=10))
    client.poll()
    subscriber.messages.append(Ack(session_id=OTHER_SESSION, next_seq=3))
    client.poll()
    assert not writer.has_room()
    subscriber.messages.append(Ack(session_id=SESSION, next_seq=3))
    client.poll()
    assert writer.is_empty


def test_the_link_answers_a_challenge_at_once() -> None:
    writer, subscriber, sender = make_writer(), FakeSubscriber(), FakeSender(room=10)
    client = LearnerClient(writer, subscriber, sender)
    client.poll()
    subscriber.messages += [Ack(session_id=OTHER_SESSION, next_seq=0, challenge=8)]
    client.poll()
    for challenge in (7, 7, 0, 7, 9):  # every hello is acknowledged, with the challenge in it
        subscriber.messages += [Ack(session_id=SESSION, next_seq=0, challenge=challenge)]
        client.poll()
    assert [message.answer for message in sender.taken if isinstance(message, Hello)] == [0, 7, 9]
