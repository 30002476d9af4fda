"""The actor loop: obs -> action -> step -> writer.add -> newest weights."""

import logging
import time
from functools import partial

import numpy as np

from graspfleet.actor.environment import Environment
from graspfleet.actor.episode import EpisodeRunner
from graspfleet.actor.exploration import BehaviorPolicy
from graspfleet.actor.goal_rewards import GoalRewards
from graspfleet.actor.hindsight import Hindsight
from graspfleet.actor.learner_client import LearnerClient
from graspfleet.actor.pacing import Pace
from graspfleet.actor.subscriber import Subscriber
from graspfleet.actor.watchdog import Watchdog
from graspfleet.actor.writer import Writer
from graspfleet.common.fields import MAX_EPISODE_BYTES
from graspfleet.common.messages.sizes import require_fit
from graspfleet.common.net.experience import ExperienceSender
from graspfleet.common.observations.fields import Floats
from graspfleet.common.runtime.interval import Interval
from graspfleet.common.runtime.seeds import new_session_id, session_seeds, training_seeds
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.flags import ActorFlags
from graspfleet.common.settings.processes import ActorConfig

log = logging.getLogger(__name__)

MAX_UNACKED_TRANSITIONS = 256
"""Default limit of unacknowledged transitions."""
POLL_INTERVAL_S = 0.002
"""Seconds between polls of the sockets; a poll in every step would slow down cheap environments by 2 %."""


class Actor:
    """Steps K environments with one batched policy call, and streams the transitions to the learner.

    Args:
        flags: settings.
        actor_id: unique among live actors.
        watchdog: calls the environments, and keeps the connection alive while one blocks.

    Raises:
        ConfigError: the environment or the learner's address cannot be used.
    """

    def __init__(self, flags: ActorFlags, actor_id: str, watchdog: Watchdog | None = None) -> None:
        self._config: ActorConfig = flags.actor
        self._watchdog = watchdog or Watchdog()
        self._linger_s = flags.transport.linger_s
        session_id = new_session_id()
        self._streams = session_seeds(flags.env.seed, session_id).spawn(self._config.envs_per_actor + 2)
        self._rng, check_seeds = (np.random.default_rng(self._streams.pop()) for _ in range(2))
        self._make = partial(Environment, flags.env, flags.returns, watchdog=self._watchdog)
        self._envs = [self._make(headless=flags.env.headless)]  # the others are constructed in `_begin`
        self.spec = self._envs[0].spec
        checked = self._envs[0].check(check_seeds)
        if self._config.her:
            self._goal_rewards = GoalRewards(self._envs[0])
            self._goal_rewards.check(*checked)
        batch = self._config.max_batch_transitions
        size_bytes = batch * (self.spec.record.itemsize + MAX_EPISODE_BYTES)
        size_bytes += self.spec.max_batch_frames * self.spec.frame_bytes
        require_fit(
            flags.transport.max_message_bytes, size_bytes, f"a batch of {batch} (--max-batch-transitions)"
        )
        self.writer = Writer(
            self.spec,
            actor_id,
            session_id,
            max_batch_transitions=batch,
            max_batch_delay_s=self._config.max_batch_delay_s,
            max_unacked_transitions=self._config.max_unacked_transitions or MAX_UNACKED_TRANSITIONS,
            max_unanswered_transitions=self._config.max_unacked_transitions or batch,
            max_unacked_bytes=self._config.max_unacked_bytes,
            resend_after_s=flags.transport.resend_after_s,
        )
        self.runners: list[EpisodeRunner] = []
        subscriber = Subscriber(self._config.learner, flags.transport, actor_id, session_id)
        sender = ExperienceSender(flags.transport)
        sender.connect(self._config.learner, flags.transport.experience_port)
        self.client = LearnerClient(self.writer, subscriber, sender)
        self.behavior = BehaviorPolicy(
            self.spec.action_dim,
            self._rng,
            deterministic=self._config.deterministic,
            random_action_prob=self._config.random_action_prob,
        )
        self._obs = np.empty((len(self._streams), self.spec.obs_dim), np.float32)
        self._pixels = np.empty((len(self._streams), self.spec.frame_bytes), np.uint8)
        self._poll_due = Interval(POLL_INTERVAL_S)
        self._pace = Pace()
        # Transitions that one iteration may add: the end of an episode emits all n pending steps.
        self._turn_transitions = len(self._streams) * self.spec.n_step
        self.writer.require_room(self._turn_transitions)

    def run(self, stop: StopSignal) -> None:
        """Step until a stop, the end of the run or `max_episodes`; then deliver the remaining transitions."""
        self._stop = stop
        self._watchdog.on_tick, self._watchdog.on_abandon = self._on_tick, self._deliver
        try:
            self._begin()
            while not (stop.is_set() or self._finished()):
                if may_step := self._may_step():
                    for runner, action in zip(self.runners, self._act(), strict=True):
                        runner.step(action)
                    self._pace.stepped()
                else:
                    self.client.wait()
                    self._pace.waited()
                if self._poll_due.due_now() or not may_step:
                    self.client.poll()
                    self._take_newest_policy()
                    self._pace.measure(time.monotonic())
                    self._watchdog.heartbeat.beat()
        finally:  # after an error, too, earlier transitions are delivered
            try:
                self._deliver()
            finally:
                for env in self._envs:
                    env.close()

    def _begin(self) -> None:
        """Construct the environments and start their first episodes."""
        for stream in self._streams:
            if self.runners:
                self._envs.append(self._make())
            rng = np.random.default_rng(stream)
            hindsight = self._hindsight(self._envs[-1], rng.spawn(1)[0]) if self._config.her else None
            runner = EpisodeRunner(
                self._envs[-1], self.writer, training_seeds(rng), self._config.reinit_episodes, hindsight
            )
            self.runners.append(runner)

    def _hindsight(self, env: Environment, rng: np.random.Generator) -> Hindsight:
        rewards = GoalRewards(env, takes_many=self._goal_rewards.takes_many)
        return Hindsight(rewards, self.spec, self.writer.add, self._config.her_goals, rng)

    def _on_tick(self) -> bool:
        """Poll the learner while an environment is slow; return whether to continue."""
        self.client.poll()
        return not self.client.run_is_over

    def _may_step(self) -> bool:
        """Return whether each environment may step: the learner allows it, or a robot cannot wait for it."""
        if self.writer.has_room(self._turn_transitions):
            self._pace.is_ahead = False
            return True
        if not self.writer.fits(self._turn_transitions):
            return False
        return self._pace.goes_on(self.writer.unacked, self.client.silent_s(time.monotonic()))

    def _act(self) -> Floats:
        """Return [K, action_dim] actions."""
        for index, runner in enumerate(self.runners):
            vector, frame = runner.obs
            self._obs[index] = vector
            if frame is not None:
                self._pixels[index] = frame.pixels
        return self.behavior.act(self._obs, self._pixels)

    def _take_newest_policy(self) -> None:
        newest = self.client.subscriber.newest_policy(self.spec, self._rng)
        if newest is not None and newest[0].version != self.writer.weights_version:
            self.writer.weights_version, self.behavior.policy = newest[0].version, newest[1]

    def _finished(self) -> bool:
        if self.client.run_is_over:
            return True
        limit = self._config.max_episodes
        return limit is not None and sum(runner.episodes for runner in self.runners) >= limit

    def _deliver(self) -> None:
        for runner in self.runners:
            runner.flush()
        # After a stop before the first answer there may be no learner, so there is nothing to wait for.
        waits = self.client.is_answered or not self._stop.is_set()
        delivered = self.client.leave(self._linger_s if waits else 0.0)
        log.info(
            "%s leaves: %d transitions, %d discarded steps, %d batches resent, %s",
            self.writer.actor_id,
            self.writer.produced,
            self.writer.discarded,
            self.writer.resent,
            "all acknowledged" if delivered else "some never acknowledged",
        )
