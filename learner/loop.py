"""THE learner loop: drain -> replay -> update -> publish -> checkpoint."""

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from common.errors import ConfigError, StorageError
from common.flags import LearnerFlags
from common.runtime.interval import Interval
from common.runtime.run_directory import RunDirectory
from common.runtime.seeds import seed_sequence
from common.runtime.signals import StopSignal
from common.specs import EnvSpec
from learner.access.sockets import Sockets
from learner.checkpoint import Checkpoints
from learner.experience.demonstrations.loader import load_demos
from learner.experience.ingest import Ingest
from learner.experience.journal import Journal, Recovered
from learner.experience.rate_limiter import make_limiter
from learner.experience.replay import Mixture, Replay, Sampler
from learner.experience.sessions import Liveness, Sessions
from learner.experience.throttle import Throttle
from learner.publishing.cadence import Cadence
from learner.publishing.publisher import PolicyPublisher
from learner.publishing.select_best import Selection
from learner.reporting.reporter import Reporter
from learner.sac.backends import choose_agent, updates_per_dispatch

log = logging.getLogger(__name__)

DRAIN_MAX_N = 64
"""Messages taken in between two updates at the most."""
FINISH_MAX_N = 100_000
"""The same before the learner leaves: everything that has arrived."""
IDLE_WAIT_S = 0.05
"""Longest sleep while there is nothing to learn from."""
ACKNOWLEDGE_INTERVAL_S = 0.005
"""Acknowledgements of what came in meanwhile go out together."""
PARTS = ("agent", "sampler", "limiter", "publisher", "selection", "reporter")
"""Attributes of the learner whose state a checkpoint holds."""
JUDGE_INTERVAL_S = 0.05
"""Evaluations that came in are looked at so often."""


class Learner:
    """Owns replay, SAC and the bound sockets of one run.

    Single-threaded, so nothing needs a lock; libzmq's own thread receives meanwhile.

    Args:
        flags: settings.
        spec: what a transition looks like.
        sockets: already bound.
        run: the run directory, already claimed.
        journal: where batches are written down; not yet opened for a new run.
        recovered: what the journal of a resumed run holds.

    Raises:
        ConfigError: settings that cannot make progress, or a run that cannot be gone on with.
    """

    def __init__(
        self,
        flags: LearnerFlags,
        spec: EnvSpec,
        sockets: Sockets,
        run: RunDirectory,
        journal: Journal,
        recovered: Recovered | None = None,
    ) -> None:
        self.config = flags.learner
        self.spec = spec
        self.num_updates = updates_per_dispatch(flags.learner)
        self.batch_size = flags.sac.batch_size
        self.sockets = sockets
        self.updates = 0
        self._awaited: set[Liveness] = {"alive", "late"}
        seeds = seed_sequence(flags.env.seed, "learner")
        agent_seed, replay_seed, demo_seed = seeds.spawn(3)
        self.limiter = make_limiter(flags, self.num_updates)
        self.replay = Replay(
            run.replay, spec.record, flags.replay.replay_capacity, np.random.default_rng(replay_seed)
        )
        self.sampler: Sampler = self.replay
        if flags.replay.demos is not None:
            demos = load_demos(flags.replay.demos, spec, np.random.default_rng(demo_seed))
            self.sampler = Mixture(self.replay, demos, flags.replay.demo_fraction)
        seed = int(agent_seed.generate_state(1)[0])
        self.agent = choose_agent(spec, flags.sac, flags.learner, seed=seed)
        limits = flags.transport
        sessions = Sessions(
            silent_after_s=limits.silent_after_s,
            gone_after_s=limits.gone_after_s,
            max_actors_per_key=limits.max_actors_per_key,
        )
        throttle = Throttle(limits.max_actor_batches_per_s, limits.max_actor_bytes_per_s)
        self.ingest = Ingest(
            spec, self.replay, journal, sessions, throttle, self.limiter, refusals=sockets.refusals
        )
        self.publisher = PolicyPublisher(spec, self.agent, sockets.weights, run, self._reserve)
        self.selection = Selection(self.publisher.frames, run)
        self.checkpoints = Checkpoints(run.checkpoints, self.config.keep_checkpoints)
        self.reporter = Reporter(self, run)
        if recovered is not None:
            self._resume(recovered, auto=flags.run.auto_resume)
        try:
            self.ingest.checkpoint()
        except OSError as error:
            raise StorageError(f"{run.journal}: {error.strerror}; nothing could be acknowledged") from None
        if not self._save():  # from here on the run can be resumed
            raise StorageError(f"{run.checkpoints}: the first checkpoint could not be written")
        self._cadence = Cadence(self.config, in_step=flags.rate.updates_per_step is not None)
        self._due: list[tuple[Interval, Callable[[], object]]] = [
            (Interval(0.0), self.publish),
            (Interval(0.0), self.deliver),
            (Interval(ACKNOWLEDGE_INTERVAL_S), self.acknowledge),
            (Interval(JUDGE_INTERVAL_S), self.judge),
            (Interval(self.config.checkpoint_interval_s), self.checkpoint),
            (Interval(self.config.log_interval_s), self.reporter.write),
            (Interval(1.0), self.reporter.send_status),
        ]

    @property
    def env_steps(self) -> int:
        """Env steps learned from so far: each becomes one transition."""
        return self.replay.inserted

    @np.errstate(over="ignore", invalid="ignore")  # `learner.divergence` finds what becomes of it
    def run(self, stop: StopSignal) -> None:
        """Learn until `total_env_steps` or until told to stop; save in both cases."""
        self.reporter.state = "running"
        while not (stop.is_set() or self.limiter.done):
            arrived = self.ingest.drain(self.sockets.receive, DRAIN_MAX_N, time.monotonic())
            self.reporter.holds_actors(bool(self.ingest.held))
            if self.limiter.may_sample():
                batches = self.sampler.sample(self.num_updates, self.batch_size)
                self.reporter.losses = self.agent.update_each(batches)
                self.limiter.sampled()
                self.updates += self.num_updates
            elif not arrived:
                self.acknowledge()  # actors whose windows are full would sleep as long as this does
                self.publish(idle=True)
                self.deliver(wait=True)
                self.reporter.waited(self.sockets.wait, IDLE_WAIT_S)
            self._do_what_is_due()
        self._finish(complete=not stop.is_set())

    def publish(self, *, idle: bool = False) -> None:
        """Send the newest policy when it is due, or at once if `idle`, as soon as it has been copied."""
        now_s = time.monotonic()
        if self.updates and (idle or self._cadence.due(now_s, self.env_steps, self.ingest.actors_n)):
            self.publisher.publish(self.env_steps, self.updates, now_s)
            self.deliver()

    def deliver(self, *, wait: bool = False) -> None:
        """Send the policy that is being copied, if it has arrived by now."""
        sent = self.publisher.deliver(wait=wait)
        if sent is not None:
            self.ingest.lag.published(sent.version, sent.env_steps)

    def _reserve(self, version: int) -> None:
        self.ingest.note({"weights_version": version})

    def acknowledge(self) -> None:
        """Tell every actor that sent something what it may forget, and whoever is refused that it is."""
        for actor_id, ack in self.ingest.acknowledgements(time.monotonic()):
            self.sockets.acknowledge(actor_id, ack)
        self.sockets.refuse()

    def checkpoint(self) -> bool:
        """Save everything that must survive; return whether a checkpoint was written."""
        try:
            self.ingest.checkpoint()
        except OSError as error:
            log.error("rows and journal not brought to the disk: %s; going on without", error.strerror)
        return self._save()

    def _save(self) -> bool:
        written = self.checkpoints.save(self.state_dict(), self.env_steps)
        self.publisher.write_last()
        self.selection.write()
        return written is not None

    def judge(self) -> None:
        """Write down the evaluations that came in, and keep what was best."""
        for message in self.ingest.drain_evaluations():
            if (judged := self.selection.take(message)) is None:
                continue
            values, is_best = judged
            self.reporter.write(values)
            if is_best:
                self.checkpoints.save(self.state_dict(), self.env_steps, best=True)

    def _do_what_is_due(self) -> None:
        now_s = time.monotonic()
        for interval, action in self._due:
            if interval.due(now_s):
                action()

    def _finish(self, *, complete: bool) -> None:
        """Take in what is still on its way, then save; at the run's end, wait for the actors to leave.

        Raises:
            StorageError: the disk refuses the last checkpoint.
        """
        self.reporter.state = "draining" if complete else "running"
        deadline_s = time.monotonic() + (self.config.drain_timeout_s if complete else 0.0)
        status = Interval(0.1)
        while True:
            now_s = time.monotonic()
            arrived = self.sockets.wait(IDLE_WAIT_S)
            self.ingest.drain(self.sockets.receive, FINISH_MAX_N, now_s, everything=True)
            self.acknowledge()
            self.judge()
            if complete and status.due(now_s):
                self.reporter.send_status()
            staying = self._awaited & set(self.ingest.liveness().values())
            if now_s >= deadline_s or not (arrived or staying):
                break
        self.deliver(wait=True)
        self.publish(idle=True)
        self.deliver(wait=True)
        saved = self.checkpoint()
        self.reporter.state = "done" if complete and saved else "running"
        self.reporter.close()
        if not saved:
            raise StorageError(
                "the last checkpoint could not be written; --resume goes on from the one before"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs besides replay and journal, as tensors and plain values."""
        return {"updates": self.updates, **{part: getattr(self, part).state_dict() for part in PARTS}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self.updates = state["updates"]
        for part in PARTS:
            getattr(self, part).load_state_dict(state[part])

    def _resume(self, recovered: Recovered, *, auto: bool) -> None:
        """Take over the sessions and rows of a journal, and everything else from the newest checkpoint."""
        self.ingest.restore(recovered)
        self.selection.recover()
        if self.env_steps >= self.config.total_env_steps:
            # Killed while the actors were leaving: what they still keep is taken in, and they are told to go.
            self._awaited = {"alive", "late", "gone"}
            if auto:  # whoever was started along with this learner shall hear that the run is done
                self._awaited |= {"left"}
            elif self.ingest.sessions.all_left():
                raise ConfigError(
                    f"--total-env-steps {self.config.total_env_steps}: the run has {self.env_steps} already;"
                    " allowed: more than that"
                )
        try:
            self.load_state_dict(self.checkpoints.load_newest())
        except (LookupError, RuntimeError, ValueError, TypeError, AttributeError, AssertionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"--resume: its networks do not fit the flags ({reason})") from None
        # The journal is newer than the checkpoint after a crash.
        self.limiter.inserts = self.env_steps
        self.publisher.version = max(self.publisher.version, int(self.ingest.said.get("weights_version", 0)))
        self.reporter.go_on()
