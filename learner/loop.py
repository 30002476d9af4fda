"""THE learner loop: drain -> sample -> update -> publish -> checkpoint."""

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
"""Messages taken in between two updates at most."""
FINISH_MAX = 100_000
"""The same before the learner leaves: everything that has arrived."""
IDLE_WAIT_S = 0.05
"""Longest sleep while there is nothing to learn from."""
ACKNOWLEDGE_INTERVAL_S = 0.005
"""Seconds between two rounds of acknowledgements."""
SELECT_INTERVAL_S = 0.05
"""Seconds between two looks at the evaluations that came in."""
STATUS_INTERVAL_S = 1.0
"""Seconds between two statuses."""

State = Literal["running", "draining", "done"]


class Sockets(Protocol):
    """The wire as the loop needs it."""

    def receive(self) -> Received | None:
        """Return the next frame that has arrived, if any."""

    def wait(self, timeout_s: float) -> bool:
        """Sleep until something arrives; return whether something has."""

    def acknowledge(self, actor_id: str, ack: Ack) -> None:
        """Send an acknowledgement."""

    def refuse(self) -> None:
        """Tell whoever is to be told that it is refused."""


class Reporter(Protocol):
    """Rows of metrics and statuses as the loop needs them."""

    def write(self, more: Mapping[str, float] | None = None) -> None:
        """Write a row, with the values of an evaluation where there is one."""

    def send_status(self, state: State, more: Mapping[str, float] | None = None) -> None:
        """Tell everybody how the run stands."""

    def close(self) -> None:
        """Close the files."""


@dataclass(frozen=True)
class Parts:
    """Parts that the loop drives; built by `learner.assembly`, or faked by a test."""

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

    Single-threaded, so nothing needs a lock; libzmq's own thread receives meanwhile.

    Args:
        parts: built and, in a resumed run, restored.
        config: intervals.
        batches: K updates a call, and B transitions of each.

    Attributes:
        awaited: states of actors that the end of the run waits for, as they may still deliver.
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

    @np.errstate(over="ignore", invalid="ignore")  # `learner.numerics.divergence` finds what becomes of it
    def run(self, stop: StopSignal) -> None:
        """Learn until the rate limiter is done or until told to stop; save in both cases."""
        parts = self.parts
        while not (stop.is_set() or parts.limiter.done):
            arrived = parts.ingest.drain(parts.sockets.receive, DRAIN_MAX, time.monotonic())
            parts.progress.holds_actors(bool(parts.ingest.held))
            if parts.limiter.may_sample():
                parts.algorithm.update(parts.sampler.sample(*self._batches))
                parts.limiter.sampled()
                parts.progress.updates += self._batches[0]
            elif not arrived:
                self._idle()
            self._do_what_is_due()
        self._finish(complete=not stop.is_set())

    def _idle(self) -> None:
        """Leave nothing unsaid, and sleep until something arrives."""
        self.acknowledge()  # actors whose windows are full would sleep as long as this does
        self.publish(now=True)
        self.parts.publisher.deliver(wait=True)
        self.parts.progress.waited(self.parts.sockets.wait, IDLE_WAIT_S)

    def _do_what_is_due(self) -> None:
        now_s = time.monotonic()
        for interval, action in self._due:
            if interval.due(now_s):
                action()

    def publish(self, *, now: bool = False) -> None:
        """Publish the newest policy when it is due, or `now`."""
        parts = self.parts
        env_steps, updates = parts.ingest.env_steps, parts.progress.updates
        parts.publisher.publish(time.monotonic(), env_steps, updates, parts.ingest.num_actors, now=now)

    def acknowledge(self) -> None:
        """Tell every actor that sent something what it may forget, and whoever is refused that it is."""
        for actor_id, ack in self.parts.ingest.acknowledgements(time.monotonic()):
            self.parts.sockets.acknowledge(actor_id, ack)
        self.parts.sockets.refuse()

    def select_best(self) -> None:
        """Take the evaluations that came in, and keep the checkpoint of a policy that is the best now."""
        for message in self.parts.ingest.drain_evaluations():
            if (taken := self.parts.selection.take(message)) is None:
                continue
            values, is_best = taken
            self.parts.reporter.write(values)
            if is_best:
                self._save(best=True)

    def send_status(self) -> None:
        """Tell everybody how the run stands."""
        self.parts.reporter.send_status(self._state, self.parts.selection.newest)

    def checkpoint(self) -> bool:
        """Save everything that must survive; return whether a checkpoint was written."""
        try:
            self.parts.ingest.ledger.checkpoint()
        except OSError as error:
            log.error("rows and journal not brought to the disk: %s; going on without", error.strerror)
        return self.save()

    def save(self) -> bool:
        """Save what neither replay nor journal holds; return whether a checkpoint was written."""
        written = self._save()
        self.parts.publisher.write_last()
        self.parts.selection.write()
        return written

    def _save(self, *, best: bool = False) -> bool:
        path = self.parts.checkpoints.save(self.state_dict(), self.parts.ingest.env_steps, best=best)
        return path is not None

    def _finish(self, *, complete: bool) -> None:
        """Take in what is still on its way, then save; at the run's end, wait for the actors to leave.

        Raises:
            StorageError: the disk refuses the last checkpoint.
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
                "the last checkpoint could not be written; --resume goes on from the one before"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs besides replay and journal, as tensors and plain values."""
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
        """Go on from `state_dict()`."""
        parts = self.parts
        parts.progress.updates = state["updates"]
        parts.algorithm.load_state_dict(state["algorithm"])
        parts.sampler.load_state_dict(state["sampler"])
        parts.limiter.load_state_dict(state["limiter"])
        parts.publisher.load_state_dict(state["publisher"])
        parts.selection.load_state_dict(state["selection"])
        parts.ingest.episodes.load_state_dict(state["episodes"])
