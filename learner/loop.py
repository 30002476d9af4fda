"""The learner loop: drain -> sample -> update -> publish -> checkpoint."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from graspfleet.common.errors import StorageError
from graspfleet.common.messages import Ack
from graspfleet.common.net.experience import Received
from graspfleet.common.runtime.interval import Interval
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.learner.algorithm import Algorithm
from graspfleet.learner.experience.ingest import Ingest
from graspfleet.learner.experience.peers.session import Liveness
from graspfleet.learner.experience.rate_limiter import RateLimiter
from graspfleet.learner.experience.replay import Sampler
from graspfleet.learner.publishing.publisher import PolicyPublisher
from graspfleet.learner.publishing.select_best import Selection
from graspfleet.learner.reporting.progress import Progress
from graspfleet.learner.storage.checkpoint import Checkpoints

log = logging.getLogger(__name__)

DRAIN_MAX = 64
"""Largest number of messages received between two updates."""
FINISH_MAX = 100_000
"""Largest number of messages per drain at the end; enough for everything that has arrived."""
IDLE_WAIT_S = 0.05
"""Longest sleep in seconds while no update is possible."""
ACKNOWLEDGE_INTERVAL_S = 0.005
"""Seconds between two rounds of acknowledgements."""
SELECT_INTERVAL_S = 0.05
"""Seconds between two checks for new evaluations."""
STATUS_INTERVAL_S = 1.0
"""Seconds between two statuses."""

State = Literal["running", "draining", "done"]


class Sockets(Protocol):
    """The sockets' interface for the loop."""

    def receive(self) -> Received | None:
        """Return the next frame that has arrived, if any."""

    def wait(self, timeout_s: float) -> bool:
        """Sleep until a message arrives or the timeout ends; return whether one has arrived."""

    def acknowledge(self, actor_id: str, ack: Ack) -> None:
        """Send an acknowledgement."""

    def refuse(self) -> None:
        """Send all pending refusals."""


class Reporter(Protocol):
    """The reporter's interface for the loop."""

    def write(self, more: Mapping[str, float] | None = None) -> None:
        """Write a row, with the values of an evaluation if given."""

    def send_status(self, state: State, more: Mapping[str, float] | None = None) -> None:
        """Publish the state of the run."""

    def close(self) -> None:
        """Close the files."""


@dataclass(frozen=True)
class Parts:
    """Parts that the loop drives; built by `learner.assembly`, or replaced by fakes in tests."""

    algorithm: Algorithm
    sampler: Sampler
    limiter: RateLimiter
    ingest: Ingest
    sockets: Sockets
    publisher: PolicyPublisher
    selection: Selection
    checkpoints: Checkpoints
    reporter: Reporter
    progress: Progress


class Learner:
    """Drives the parts of one run.

    Single-threaded, so nothing needs a lock; libzmq's own thread receives in the background.

    Args:
        parts: the parts, restored in a resumed run.
        config: intervals and timeouts.
        batches: K updates per call, and B transitions per update.

    Attributes:
        awaited: states of actors that the end of the run waits for, because they may still deliver.
    """

    def __init__(self, parts: Parts, config: LearnerConfig, batches: tuple[int, int]) -> None:
        self.parts = parts
        self.awaited: set[Liveness] = {"alive", "late"}
        self._batches, self._drain_timeout_s = batches, config.drain_timeout_s
        self._state: State = "running"
        self._due: list[tuple[Interval, Callable[[], object]]] = [
            (Interval(0.0), self.publish),
            (Interval(0.0), parts.publisher.deliver),
            (Interval(ACKNOWLEDGE_INTERVAL_S), self.acknowledge),
            (Interval(SELECT_INTERVAL_S), self.select_best),
            (Interval(config.checkpoint_interval_s), self.checkpoint),
            (Interval(config.log_interval_s), parts.reporter.write),
            (Interval(STATUS_INTERVAL_S), self.send_status),
        ]

    @np.errstate(over="ignore", invalid="ignore")  # `learner.numerics.divergence` detects the results
    def run(self, stop: StopSignal) -> None:
        """Learn until the rate limiter is done or `stop` is set; save in both cases."""
        parts = self.parts
        while not (stop.is_set() or parts.limiter.done):
            arrived = parts.ingest.drain(parts.sockets.receive, DRAIN_MAX, time.monotonic())
            parts.progress.holds_actors(bool(parts.ingest.held))
            if parts.limiter.may_sample() and len(parts.sampler):
                parts.algorithm.update(parts.sampler.sample(*self._batches))
                parts.limiter.sampled()
                parts.progress.updates += self._batches[0]
            elif not arrived:
                self._idle()
            self._do_what_is_due()
        self._finish(complete=not stop.is_set())

    def _idle(self) -> None:
        """Send everything that is pending, and sleep until a message arrives."""
        self.acknowledge()  # otherwise actors with full windows would wait as long as this process sleeps
        self.publish(now=True)
        self.parts.publisher.deliver(wait=True)
        self.parts.progress.waited(self.parts.sockets.wait, IDLE_WAIT_S)

    def _do_what_is_due(self) -> None:
        now_s = time.monotonic()
        for interval, action in self._due:
            if interval.due(now_s):
                action()

    def publish(self, *, now: bool = False) -> None:
        """Publish the newest policy if it is due, or in any case if `now`."""
        parts = self.parts
        env_steps, updates = parts.ingest.env_steps, parts.progress.updates
        parts.publisher.publish(time.monotonic(), env_steps, updates, parts.ingest.num_actors, now=now)

    def acknowledge(self) -> None:
        """Send the acknowledgements and refusals that are due."""
        for actor_id, ack in self.parts.ingest.acknowledgements(time.monotonic()):
            self.parts.sockets.acknowledge(actor_id, ack)
        self.parts.sockets.refuse()

    def select_best(self) -> None:
        """Handle new evaluations, and save a checkpoint if the best policy has changed."""
        for message in self.parts.ingest.drain_evaluations():
            if (taken := self.parts.selection.take(message)) is None:
                continue
            values, is_best = taken
            self.parts.reporter.write(values)
            if is_best:
                self._save(best=True)

    def send_status(self) -> None:
        """Publish the state of the run and the newest evaluation."""
        self.parts.reporter.send_status(self._state, self.parts.selection.newest)

    def checkpoint(self) -> bool:
        """Save everything that a resume needs; return whether a checkpoint was written."""
        try:
            self.parts.ingest.ledger.checkpoint()
        except OSError as error:
            log.error("rows and journal could not be flushed to disk: %s; training continues", error.strerror)
        return self.save()

    def save(self) -> bool:
        """Save the state outside replay and journal; return whether a checkpoint was written."""
        written = self._save()
        self.parts.publisher.write_last()
        self.parts.selection.write()
        return written

    def _save(self, *, best: bool = False) -> bool:
        path = self.parts.checkpoints.save(self.state_dict(), self.parts.ingest.env_steps, best=best)
        return path is not None

    def _finish(self, *, complete: bool) -> None:
        """Receive the remaining messages, then save; if the run is complete, wait for the actors to leave.

        Raises:
            StorageError: the last checkpoint cannot be written.
        """
        parts, status = self.parts, Interval(0.1)
        self._state = "draining" if complete else "running"
        deadline_s = time.monotonic() + (self._drain_timeout_s if complete else 0.0)
        while True:
            now_s = time.monotonic()
            arrived = parts.sockets.wait(IDLE_WAIT_S)
            parts.ingest.drain(parts.sockets.receive, FINISH_MAX, now_s, everything=True)
            self.acknowledge()
            self.select_best()
            if complete and status.due(now_s):
                self.send_status()
            staying = self.awaited & set(parts.ingest.liveness().values())
            if now_s >= deadline_s or not (arrived or staying):
                break
        parts.publisher.deliver(wait=True)
        self.publish(now=True)
        parts.publisher.deliver(wait=True)
        saved = self.checkpoint()
        self._state = "done" if complete and saved else "running"
        parts.reporter.write()
        self.send_status()
        parts.reporter.close()
        if not saved:
            raise StorageError(
                "the last checkpoint could not be written; --resume continues from the one before it"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a resume needs besides replay and journal, as tensors and plain values."""
        parts = self.parts
        return {
            "updates": parts.progress.updates,
            "algorithm": parts.algorithm.state_dict(),
            "sampler": parts.sampler.state_dict(),
            "limiter": parts.limiter.state_dict(),
            "publisher": parts.publisher.state_dict(),
            "selection": parts.selection.state_dict(),
            "episodes": parts.ingest.episodes.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`."""
        parts = self.parts
        parts.progress.updates = state["updates"]
        parts.algorithm.load_state_dict(state["algorithm"])
        parts.sampler.load_state_dict(state["sampler"])
        parts.limiter.load_state_dict(state["limiter"])
        parts.publisher.load_state_dict(state["publisher"])
        parts.selection.load_state_dict(state["selection"])
        parts.ingest.episodes.load_state_dict(state["episodes"])
