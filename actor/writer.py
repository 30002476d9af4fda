"""The sender's half of go-back-N: transitions are batched, numbered, and kept until acknowledged.

In: transitions and finished episodes. Out: frames to send, in order. Must not know: sockets, clocks; time is
an argument, so that tests need not wait.
"""

import logging
from collections import deque

import numpy as np

from graspfleet.actor.open_frames import OpenFrames
from graspfleet.common.errors import ConfigError
from graspfleet.common.fields import MAX_EPISODE_BYTES, MAX_EPISODES, Episode
from graspfleet.common.messages import Batch, Bye, Hello
from graspfleet.common.messages.sizes import ENVELOPE_BYTES
from graspfleet.common.protocol import encode
from graspfleet.common.specs import EnvSpec
from graspfleet.common.transition import Transition

log = logging.getLogger(__name__)

MAX_PATIENCE = 16
"""Longest pause between two attempts, in units of `resend_after_s`."""
MAX_PARTIAL_BATCHES = 8
"""Unacknowledged batches beyond which a partial batch waits to fill, as in Nagle's algorithm (RFC 896)."""


class Writer:
    """The actor's half of the delivery guarantee.

    A batch is sealed when it holds `max_batch_transitions`, or as many frames as a batch may, or its first
    transition has waited `max_batch_delay_s`.
    Transitions are kept until the learner acknowledges them. A caller that checks `has_room` before it steps
    never exceeds the learner's allowance, and one that checks `fits` never exceeds `max_unacked_bytes`.

    Args:
        spec: of the transitions.
        actor_id: of this actor.
        session_id: 16 hex digits, random for each process start; with `seq` it identifies a batch.
        max_batch_transitions: size of a full batch.
        max_batch_delay_s: longest wait of a transition for its batch to fill.
        max_unacked_transitions: limit of unacknowledged transitions; the learner may lower it.
        max_unanswered_transitions: the same limit before the learner's first acknowledgement.
        max_unacked_bytes: limit of bytes kept.
        resend_after_s: seconds after which all batches are resent if the learner has answered without
            accepting any of them; the pause then doubles. Nothing is resent to a silent learner.
    """

    def __init__(
        self,
        spec: EnvSpec,
        actor_id: str,
        session_id: str,
        *,
        max_batch_transitions: int,
        max_batch_delay_s: float,
        max_unacked_transitions: int,
        max_unanswered_transitions: int,
        max_unacked_bytes: int,
        resend_after_s: float,
    ) -> None:
        self.spec = spec
        self.actor_id = actor_id
        self.session_id = session_id
        self.weights_version = 0
        self.discarded = 0
        self.resent = 0
        self._max_batch_delay_s = max_batch_delay_s
        self._max_unacked_transitions = max_unacked_transitions
        self._allowed = min(max_unanswered_transitions, max_unacked_transitions)
        self._numbers_bytes = spec.numbers_bytes
        self._row_bytes = spec.record.itemsize + MAX_EPISODE_BYTES
        self._frames, self._has_frames = OpenFrames(spec), bool(spec.images)
        self._max_unacked_bytes = max_unacked_bytes
        self._resend_after_s = self._patience_s = resend_after_s
        self._max_batch_transitions = max_batch_transitions
        self._rows: list[bytes] = []
        self._relabeled = 0  # of `_rows`, those that are no env steps
        self._sealed_transitions = 0
        self._opened_s: float | None = None
        self._episodes: list[Episode] = []
        # Sealed frames and their numbers of env steps, oldest first: seq = _acked + position.
        self._window: deque[tuple[bytes, int]] = deque()
        self._window_steps = self._window_bytes = 0
        self._acked = 0
        self._sent = 0  # frames of the window sent since the last go-back
        self._held = 0  # frames of the window that the learner has received and will insert later
        self._progress_s = 0.0
        self._answered_s = float("-inf")

    def has_room(self, count: int = 1) -> bool:
        """Return whether `count` more env steps may be added; relabeled transitions need no allowance.

        With nothing unacknowledged, they may even exceed the learner's allowance; otherwise a caller that
        adds more than the allowance in one step would wait forever.
        """
        unacked = self.unacked
        return (unacked + count <= self._allowed or unacked == 0 < self._allowed) and self.fits(count)

    def fits(self, count: int = 1) -> bool:
        """Return whether memory suffices for `count` more transitions, however they are batched."""
        open_bytes = len(self._rows) * self._row_bytes + self._frames.size_bytes
        return self._window_bytes + open_bytes + self._most_bytes(count) <= self._max_unacked_bytes

    def _most_bytes(self, count: int) -> int:
        """Return the largest size of `count` more transitions, each with two frames."""
        return count * (self._row_bytes + 2 * self.spec.frame_bytes) + ENVELOPE_BYTES

    def require_room(self, count: int) -> None:
        """Log the capacity, and check that it is at least `count` transitions.

        Raises:
            ConfigError: `max_unacked_bytes` is too small.
        """
        if (least := self._most_bytes(count)) > self._max_unacked_bytes:
            raise ConfigError(
                f"--max-unacked-bytes {self._max_unacked_bytes}: too small for {count} transitions;"
                f" allowed: at least {least}"
            )
        kept = (self._max_unacked_bytes - ENVELOPE_BYTES) // (self._row_bytes + self.spec.frame_bytes)
        log.info(
            "%s keeps up to %d unacknowledged transitions, %d while its learner answers",
            self.actor_id,
            kept,
            min(kept, self._max_unacked_transitions),
        )

    @property
    def unacked(self) -> int:
        """Number of env steps added and not yet acknowledged."""
        return self._window_steps + len(self._rows) - self._relabeled

    @property
    def produced(self) -> int:
        """Number of transitions added so far."""
        return self._sealed_transitions + len(self._rows)

    @property
    def is_empty(self) -> bool:
        """True if everything that was added is acknowledged."""
        return not (self._window or self._rows or self._episodes)

    @property
    def next_seq(self) -> int:
        """Number of the next batch to be sealed."""
        return self._acked + len(self._window)

    def add(self, transition: Transition) -> None:
        """Add a copy of one transition; a full batch is sealed."""
        row = transition.pack(self._numbers_bytes)
        if self._has_frames:
            if self._frames.is_full:
                self.seal()
            row += self._frames.refer(transition.obs.frame, transition.next_obs.frame)
        self._rows.append(row)
        if transition.relabeled:
            self._relabeled += 1
        if len(self._rows) == self._max_batch_transitions:
            self.seal()

    def add_episode(self, episode: Episode) -> None:
        """Add the summary of a finished episode; it is sent with the next batch."""
        self._episodes.append(episode)
        if len(self._episodes) == MAX_EPISODES:
            self.seal()

    def seal(self) -> None:
        """Close the current batch if it is not empty."""
        if not (self._rows or self._episodes):
            return
        rows = np.frombuffer(b"".join(self._rows), np.uint8)
        first_frame, frames = self._frames.take()
        batch = Batch(
            actor_id=self.actor_id,
            session_id=self.session_id,
            seq=self.next_seq,
            digest=self.spec.digest,
            weights_version=self.weights_version,
            produced=self.produced,
            discarded=self.discarded,
            resent=self.resent,
            episodes=tuple(self._episodes),
            first_frame=first_frame,
            rows=rows.reshape(len(self._rows), self.spec.record.itemsize),
            frames=frames,
        )
        frame = encode(batch)
        env_steps = len(self._rows) - self._relabeled
        self._window.append((frame, env_steps))
        self._window_steps += env_steps
        self._relabeled = 0
        self._window_bytes += len(frame)
        self._sealed_transitions += len(self._rows)
        self._rows.clear()
        self._opened_s = None
        self._episodes.clear()

    def next_frame(self, now_s: float) -> bytes | None:
        """Return the frame to send now; None if there is none. Call `sent` once the frame is queued.

        Args:
            now_s: monotonic time, seconds.
        """
        self._seal_when_due(now_s)
        unseen = self._sent > self._held and self._answered_s > self._progress_s
        if unseen and now_s - self._progress_s > self._patience_s:
            self.resent += self._sent - self._held
            self._sent, self._progress_s = self._held, now_s
            self._patience_s = min(2 * self._patience_s, MAX_PATIENCE * self._resend_after_s)
        return self._window[self._sent][0] if self._sent < len(self._window) else None

    def sent(self, now_s: float) -> None:
        """Note that the last `next_frame` has been queued by the socket."""
        if self._sent == self._held:
            self._progress_s = now_s
        self._sent += 1

    def acknowledge(self, next_seq: int, now_s: float, *, held: int = 0, room: int | None = None) -> None:
        """Forget every batch below `next_seq`; a number out of range has no effect.

        Args:
            next_seq: the oldest batch that the learner has not inserted.
            now_s: monotonic time, seconds.
            held: batches from `next_seq` on that the learner has received and will insert later.
            room: new limit of unacknowledged transitions; None: unchanged.
        """
        self._answered_s = now_s
        if not self._acked <= next_seq <= self.next_seq:
            return
        if next_seq > self._acked or held > self._held:
            self._progress_s, self._patience_s = now_s, self._resend_after_s
        while self._acked < next_seq:
            frame, steps = self._window.popleft()
            self._window_steps -= steps
            self._window_bytes -= len(frame)
            self._acked += 1
            self._sent = max(0, self._sent - 1)
        self._held = min(held, len(self._window))
        self._sent = max(self._sent, self._held)
        if room is not None:
            self._allowed = min(room, self._max_unacked_transitions)

    def hello(self, answer: int = 0) -> bytes:
        """Return a hello with the answer to a challenge from the learner; 0: no challenge."""
        return encode(
            Hello(
                actor_id=self.actor_id,
                session_id=self.session_id,
                next_seq=self._acked,
                spec=self.spec,
                answer=answer,
            )
        )

    def bye(self) -> bytes:
        """Return a bye."""
        return encode(Bye(actor_id=self.actor_id, session_id=self.session_id, next_seq=self.next_seq))

    def _seal_when_due(self, now_s: float) -> None:
        if not (self._rows or self._episodes):
            return
        if self._opened_s is None:
            self._opened_s = now_s
        if now_s - self._opened_s >= self._max_batch_delay_s and len(self._window) < MAX_PARTIAL_BATCHES:
            self.seal()
