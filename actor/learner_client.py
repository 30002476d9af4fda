"""An actor's connection to its learner: batches out, acknowledgements in."""

import time

from graspfleet.actor.subscriber import Subscriber
from graspfleet.actor.writer import Writer
from graspfleet.common.messages import Ack
from graspfleet.common.net.experience import ExperienceSender
from graspfleet.common.runtime.interval import Interval

HELLO_INTERVAL_S = 1.0
WAIT_S = 0.02
"""Longest sleep, in seconds, while the learner allows no more transitions."""


class LearnerClient:
    """Sends the writer's batches and passes it the learner's acknowledgements.

    Args:
        writer: source of the batches.
        subscriber: source of the acknowledgements.
        sender: sends the batches.

    Attributes:
        is_answered: whether the learner has acknowledged anything yet.
    """

    def __init__(self, writer: Writer, subscriber: Subscriber, sender: ExperienceSender) -> None:
        self.subscriber = subscriber
        self._writer = writer
        self._sender = sender
        self._hello = Interval(HELLO_INTERVAL_S)
        self._answered = 0
        self._heard_s = time.monotonic()
        self._has_left = False
        self.is_answered = False

    @property
    def run_is_over(self) -> bool:
        """True once the learner needs no more transitions."""
        return self.subscriber.state in ("draining", "done")

    def silent_s(self, now_s: float) -> float:
        """Return the seconds since the learner's last message."""
        return now_s - self._heard_s

    def poll(self) -> None:
        """Send and receive without blocking; has no effect after `leave`."""
        if self._has_left:
            return
        now_s = time.monotonic()
        if self._hello.due(now_s):
            self._sender.send(self._writer.hello())
        challenge = 0
        while (message := self.subscriber.next_control()) is not None:
            self._heard_s = now_s
            if isinstance(message, Ack) and message.session_id == self._writer.session_id:
                self._writer.acknowledge(message.next_seq, now_s, held=message.held, room=message.room)
                challenge = message.challenge
                self.is_answered = True
        if challenge not in (0, self._answered) and self._sender.send(self._writer.hello(challenge)):
            self._answered = challenge  # one answer suffices: later acks repeat the same challenge
        while (frame := self._writer.next_frame(now_s)) is not None and self._sender.send(frame):
            self._writer.sent(now_s)
            self._hello.restart(now_s)  # a batch shows liveness, too

    def wait(self) -> None:
        """Send all pending transitions, then sleep until a control message arrives, at most `WAIT_S`."""
        self._writer.seal()
        self.poll()
        self.subscriber.control.wait(WAIT_S)

    def leave(self, linger_s: float) -> bool:
        """Wait up to `linger_s` for acknowledgements, send a bye and close; return whether all arrived.

        A refused process closes at once.
        """
        if self._has_left:
            return self._writer.is_empty
        if self.subscriber.refused:
            self._has_left = True
            self._sender.close()
            self.subscriber.close()
            return False
        deadline_s = time.monotonic() + linger_s
        self._writer.seal()
        self.poll()
        while not self._writer.is_empty and time.monotonic() < deadline_s:
            self.wait()
        self.poll()
        self._has_left = True
        self._sender.send(self._writer.bye())
        self._sender.close(linger_s=max(0.1, deadline_s - time.monotonic()))
        self.subscriber.close()
        return self._writer.is_empty
