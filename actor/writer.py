"""Batches, numbers and keeps transitions until the learner acknowledges them (go-back-N, sender side).

In: transitions and finished episodes. Out: frames to send, in order. It opens no socket and reads no
clock: time comes in as an argument, so every case can be tested without waiting.
"""

from collections import deque

import numpy as np

from common.messages import MAX_EPISODES, Batch, Bye, Episode, Hello
from common.protocol import encode
from common.specs import EnvSpec, Floats

MAX_PATIENCE = 16
"""Times `resend_after_s`: the longest wait between two attempts."""


class Writer:
    """The actor's half of the delivery guarantee.

    A batch is sealed when it holds `batch_max_n` transitions or its first one waited
    `batch_max_delay_s`; at most `window_n` sealed batches are unacknowledged. A caller stops stepping
    while `has_room` is false, which bounds both memory and how far an actor runs ahead.

    Args:
        spec: what a transition looks like.
        actor_id: name of the actor.
        boot_id: 16 hex digits, random for each process start; with `seq` it names a batch for ever.
        batch_max_n: transitions a batch at the most.
        batch_max_delay_s: longest wait of a transition for its batch to fill.
        window_n: unacknowledged batches at the most.
        resend_after_s: without any progress for so long, all of them are sent again; then after twice as
            long, and so on: a learner that is alive and busy needs no more copies.
    """

    def __init__(
        self,
        spec: EnvSpec,
        actor_id: str,
        boot_id: str,
        *,
        batch_max_n: int,
        batch_max_delay_s: float,
        window_n: int,
        resend_after_s: float,
    ) -> None:
        self.spec = spec
        self.actor_id = actor_id
        self.boot_id = boot_id
        self.weights_version = 0
        self.discarded = 0
        self.resent = 0
        self._batch_max_delay_s = batch_max_delay_s
        self._window_n = window_n
        self._resend_after_s = self._patience_s = resend_after_s
        self._batch_max_n = batch_max_n
        self._rows: list[bytes] = []
        self._sealed_n = 0
        self._opened_s: float | None = None
        self._episodes: list[Episode] = []
        self._window: deque[bytes] = deque()  # sealed frames, oldest first: seq = _acked + position
        self._acked = 0
        self._sent = 0  # how many of the window have been sent since the last time we went back
        self._progress_s = 0.0

    @property
    def has_room(self) -> bool:
        """Whether more transitions may be added."""
        return len(self._window) < self._window_n

    @property
    def produced(self) -> int:
        """Transitions added so far."""
        return self._sealed_n + len(self._rows)

    @property
    def is_empty(self) -> bool:
        """Whether everything that was added has been acknowledged."""
        return not (self._window or self._rows or self._episodes)

    @property
    def next_seq(self) -> int:
        """Number of the next batch to be sealed."""
        return self._acked + len(self._window)

    def add(
        self,
        obs: Floats,
        next_obs: Floats,
        action: Floats,
        reward: float,
        discount: float,
        terminated: bool,
        truncated: bool,
    ) -> None:
        """Add one transition, as `EnvSpec.pack` takes it; it is copied. A full batch is sealed."""
        self._rows.append(self.spec.pack(obs, next_obs, action, reward, discount, terminated, truncated))
        if len(self._rows) == self._batch_max_n:
            self.seal()

    def add_episode(self, episode: Episode) -> None:
        """Add the summary of a finished episode; it travels with the next batch."""
        self._episodes.append(episode)
        if len(self._episodes) == MAX_EPISODES:
            self.seal()

    def seal(self) -> None:
        """Close the batch at hand, if it holds anything."""
        if not (self._rows or self._episodes):
            return
        rows = np.frombuffer(b"".join(self._rows), np.uint8)
        batch = Batch(
            actor_id=self.actor_id,
            boot_id=self.boot_id,
            seq=self.next_seq,
            digest=self.spec.digest,
            weights_version=self.weights_version,
            produced=self.produced,
            discarded=self.discarded,
            resent=self.resent,
            episodes=tuple(self._episodes),
            rows=rows.reshape(len(self._rows), self.spec.record.itemsize),
        )
        self._window.append(encode(batch))
        self._sealed_n += len(self._rows)
        self._rows.clear()
        self._opened_s = None
        self._episodes.clear()

    def next_frame(self, now_s: float) -> bytes | None:
        """Return the frame to send now, if any; call `sent` once it is on its way.

        Args:
            now_s: monotonic time, seconds.
        """
        self._seal_when_due(now_s)
        if self._sent and now_s - self._progress_s > self._patience_s:
            self.resent += self._sent
            self._sent = 0
            self._patience_s = min(2 * self._patience_s, MAX_PATIENCE * self._resend_after_s)
        return self._window[self._sent] if self._sent < len(self._window) else None

    def sent(self, now_s: float) -> None:
        """Note that the last `next_frame` was handed to the socket."""
        if self._sent == 0:
            self._progress_s = now_s
        self._sent += 1

    def acknowledge(self, next_seq: int, now_s: float) -> None:
        """Forget every batch below `next_seq`; numbers never sealed or already forgotten change nothing."""
        if not self._acked < next_seq <= self.next_seq:
            return
        while self._acked < next_seq:
            self._window.popleft()
            self._acked += 1
            self._sent = max(0, self._sent - 1)
        self._progress_s = now_s
        self._patience_s = self._resend_after_s

    def hello(self, answer: int = 0) -> bytes:
        """Return the frame that introduces this actor, with its answer to a challenge of the learner's."""
        return encode(
            Hello(
                actor_id=self.actor_id,
                boot_id=self.boot_id,
                next_seq=self._acked,
                spec=self.spec.to_mapping(),
                answer=answer,
            )
        )

    def bye(self) -> bytes:
        """Return the frame that takes leave."""
        return encode(Bye(actor_id=self.actor_id, boot_id=self.boot_id, next_seq=self.next_seq))

    def _seal_when_due(self, now_s: float) -> None:
        if not (self._rows or self._episodes):
            return
        if self._opened_s is None:
            self._opened_s = now_s
        if now_s - self._opened_s >= self._batch_max_delay_s and self.has_room:
            self.seal()
