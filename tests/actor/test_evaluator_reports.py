"""What an evaluator tells the learner: which policy it begins to evaluate, and then how that did."""

from typing import Any

import numpy as np
import pytest

from graspfleet.actor.evaluator import Evaluator
from graspfleet.common.messages import Evaluation, EvaluationStarted, Message, Weights
from graspfleet.common.policy import NumpyPolicy
from graspfleet.common.protocol import decode
from graspfleet.common.runtime.signals import StopSignal
from graspfleet.common.settings.config import EnvConfig
from graspfleet.common.settings.flags import EvaluatorFlags
from graspfleet.common.settings.processes import EvaluatorConfig
from tests.actor.test_evaluate import SPEC, arrays


class Sender:
    """Stands in for the socket, and notes after how many env steps each message left."""

    def __init__(self, env: Any) -> None:
        self.said: list[tuple[int, Message]] = []
        self._env = env

    def send(self, frame: bytes) -> bool:
        self.said.append((self._env.calls.count("step"), decode(frame)))
        return True

    def close(self, linger_s: float) -> None:
        pass


@pytest.mark.parametrize("broken", [(), (4, 5)])
def test_a_policy_is_announced_before_its_first_episode(broken: tuple[int, ...]) -> None:
    words = ("length=3", f"broken={list(broken)}")
    evaluator = Evaluator(
        EvaluatorFlags(
            env=EnvConfig(env="Fake-v0", env_args=words), evaluator=EvaluatorConfig(eval_episodes=4)
        ),
        "e",
    )
    sender: Any = Sender(evaluator._env.env.unwrapped)
    evaluator._sender.close(linger_s=0.0)
    evaluator._sender = sender
    began = sender._env.calls.count("step")
    weights = Weights(version=7, env_steps=700, updates=70, spec=SPEC, policy=arrays(SPEC))
    policy = NumpyPolicy(weights.eval_policy, SPEC, np.random.default_rng(0))
    evaluator._evaluate(weights, policy, StopSignal())
    (first, started), (_, report) = sender.said
    assert first == began
    assert isinstance(started, EvaluationStarted)
    assert isinstance(report, Evaluation)
    assert (
        (started.weights_version, started.env_steps) == (report.weights_version, report.env_steps) == (7, 700)
    )
    assert started.session_id == report.session_id
    assert (len(report.episodes), report.broken) == (4 - len(broken), len(broken))
    evaluator._subscriber.close()
