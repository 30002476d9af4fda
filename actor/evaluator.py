"""The evaluator process: deterministic episodes of the newest policy, beside the training."""

import numpy as np

from actor.environment import Environment
from actor.evaluate import run_episodes
from actor.link import WAIT_S, Inbox
from common.config import EnvConfig
from common.flags import EvaluatorFlags, evaluated_env_args
from common.heartbeat import Heartbeat
from common.interval import Interval
from common.messages import Evaluation, Weights
from common.policy import NumpyPolicy
from common.protocol import encode
from common.seeds import seed_sequence
from common.stopping import StopSignal
from common.transport import ExperienceSender


class Evaluator:
    """Reports how the published policies do, on seeds and (if asked) an environment of its own.

    Args:
        flags: settings.
        actor_id: name that it reports under.
    """

    def __init__(self, flags: EvaluatorFlags, actor_id: str) -> None:
        self._flags = flags
        self._actor_id = actor_id
        config = EnvConfig(**{**flags.env.model_dump(), "env_args": evaluated_env_args(flags)})
        self._env = Environment(config, flags.returns)
        self._rng = np.random.default_rng(seed_sequence(config.seed, "evaluator"))
        self._heartbeat = Heartbeat()
        self._inbox = Inbox(flags.actor.learner, flags.transport)
        self._sender = ExperienceSender(flags.transport)
        self._sender.connect(flags.actor.learner, flags.transport.experience_port)

    def run(self, stop: StopSignal) -> None:
        """Evaluate until told to stop or the run ends."""
        next_evaluation = Interval(self._flags.evaluator.eval_interval_s)
        newest: tuple[Weights, NumpyPolicy] | None = None
        while not stop.is_set() and self._inbox.state not in ("draining", "done"):
            self._heartbeat.beat()
            while self._inbox.next_control() is not None:
                pass
            newest = self._inbox.newest_policy(self._env.spec, self._rng, judged=True) or newest
            if newest is not None and next_evaluation.due_now():
                self._evaluate(*newest, stop)
            else:
                self._inbox.weights.wait(WAIT_S)
        self._env.close()
        self._sender.close(linger_s=1.0)
        self._inbox.close()

    def _evaluate(self, weights: Weights, policy: NumpyPolicy, stop: StopSignal) -> None:
        count = self._flags.evaluator.eval_episodes
        episodes = run_episodes(self._env, policy, self._rng, count, stop, self._heartbeat)
        if len(episodes) < count:
            return
        report = Evaluation(
            actor_id=self._actor_id,
            weights_version=weights.version,
            env_steps=weights.env_steps,
            episodes=tuple(episodes),
        )
        self._sender.send(encode(report))
