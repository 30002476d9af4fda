"""The evaluator process: deterministic episodes of the newest policy during training."""

import numpy as np

from graspfleet.actor.environment import Environment
from graspfleet.actor.evaluate import run_episodes
from graspfleet.actor.learner_client import HELLO_INTERVAL_S, WAIT_S
from graspfleet.actor.subscriber import Subscriber
from graspfleet.actor.watchdog import Watchdog
from graspfleet.common.messages import Ack, Bye, Evaluation, EvaluationStarted, Hello, Weights
from graspfleet.common.net.experience import ExperienceSender
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.protocol import encode
from graspfleet.common.runtime.interval import Interval
from graspfleet.common.runtime.reports import hint
from graspfleet.common.runtime.seeds import new_session_id, session_seeds, training_seeds
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.config import EnvConfig
from graspfleet.common.settings.env_args import evaluated_env_args
from graspfleet.common.settings.flags import EvaluatorFlags


class Evaluator:
    """Evaluates published policies, with its own seeds and environment settings, and reports the results.

    Args:
        flags: settings.
        actor_id: actor id in its messages.
        watchdog: calls the environment.
    """

    def __init__(self, flags: EvaluatorFlags, actor_id: str, watchdog: Watchdog | None = None) -> None:
        self._flags = flags
        self._actor_id, self._session_id = actor_id, new_session_id()
        config = EnvConfig(
            **{**flags.env.model_dump(), "env_args": evaluated_env_args(flags.env, flags.evaluator)}
        )
        self._watchdog = watchdog or Watchdog()
        self._env = Environment(config, flags.returns, watchdog=self._watchdog)
        self._rng = np.random.default_rng(session_seeds(config.seed, self._session_id))
        self._seeds = training_seeds(self._rng)
        self._env.check(self._rng)
        self._said_cut = False
        self._hello = Interval(HELLO_INTERVAL_S)
        self._answered = 0
        self._subscriber = Subscriber(flags.actor.learner, flags.transport, actor_id, self._session_id)
        self._sender = ExperienceSender(flags.transport)
        self._sender.connect(flags.actor.learner, flags.transport.experience_port)

    def run(self, stop: StopSignal) -> None:
        """Evaluate until a stop is requested or the run ends.

        Raises:
            ConfigError: the learner refuses this process, or no learner answers.
        """
        self._watchdog.on_tick = self._on_tick
        next_evaluation = Interval(self._flags.evaluator.eval_interval_s)
        newest: tuple[Weights, NumpyPolicy] | None = None
        try:
            while not stop.is_set() and self._subscriber.state not in ("draining", "done"):
                self._watchdog.heartbeat.beat()
                self._greet()
                newest = self._subscriber.newest_policy(self._env.spec, self._rng, evaluation=True) or newest
                if newest is not None and next_evaluation.due_now():
                    self._evaluate(*newest, stop)
                else:
                    self._subscriber.weights.wait(WAIT_S)
        finally:
            self._leave()

    def _on_tick(self) -> bool:
        """Do the periodic work during episodes; return whether to continue."""
        self._greet()
        return self._subscriber.state != "done"  # a draining learner still accepts reports

    def _greet(self) -> None:
        """Send a hello if one is due, and receive control messages."""
        challenge = 0
        while (message := self._subscriber.next_control()) is not None:
            if isinstance(message, Ack) and message.session_id == self._session_id:
                challenge = message.challenge
        if challenge in (0, self._answered) and not self._hello.due_now():
            return
        hello = Hello(
            actor_id=self._actor_id,
            session_id=self._session_id,
            next_seq=0,
            spec=self._env.spec,
            role="evaluator",
            answer=challenge,
        )
        if self._sender.send(encode(hello)):
            self._answered = challenge

    def _leave(self) -> None:
        """Send a bye and close all resources; the environment last, because it may be slow."""
        self._watchdog.on_tick = lambda: True
        if not self._subscriber.refused:
            bye = Bye(actor_id=self._actor_id, session_id=self._session_id, next_seq=0, role="evaluator")
            self._sender.send(encode(bye))
        self._sender.close(linger_s=1.0)
        self._subscriber.close()
        self._env.close()

    def _evaluate(self, weights: Weights, policy: NumpyPolicy, stop: StopSignal) -> None:
        count = self._flags.evaluator.eval_episodes
        # The learner keeps this policy until the report arrives, however long the episodes take.
        started = EvaluationStarted(
            actor_id=self._actor_id,
            session_id=self._session_id,
            weights_version=weights.version,
            env_steps=weights.env_steps,
        )
        self._sender.send(encode(started))
        outcome = run_episodes(self._env, policy, self._seeds, count, stop)
        if outcome.count < count:
            return
        if outcome.cut and not self._said_cut:
            self._said_cut = True
            hint(
                "--max-episode-steps",
                f"--env {self._env.name}: {outcome.cut} of {outcome.count} episodes did not end and were cut"
                f" after {self._env.cut_after} env steps; --max-episode-steps sets the length of an episode",
            )
        report = Evaluation(
            actor_id=self._actor_id,
            session_id=self._session_id,
            weights_version=weights.version,
            env_steps=weights.env_steps,
            episodes=tuple(outcome.episodes),
            broken=outcome.broken,
        )
        self._sender.send(encode(report))
