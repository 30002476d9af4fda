"""Publishes the policy, remembers what was published, and keeps the best of it."""

import logging
import time
from collections import OrderedDict

from common.config import LearnerConfig
from common.interval import Interval
from common.messages import Evaluation, Weights
from common.protocol import encode
from common.run_directory import RunDirectory, write_atomically
from common.specs import EnvSpec
from common.statistics import summarise
from common.transport import WeightsPublisher
from learner.divergence import require_policy
from learner.metrics import Values
from learner.policy_copy import PolicyCopy
from learner.sac import SACAgent

log = logging.getLogger(__name__)

PUBLISH_INTERVAL_S = 0.2
"""Seconds between two broadcasts, unless the user says otherwise."""
IN_STEP_PUBLISH_INTERVAL_S = 0.02
"""The same where each env step asks for updates: the policy that acts is then a few env steps old."""
IN_STEP_ACTORS_N = 4
"""Actors up to which that holds; with more of them each steps less often, and broadcasts cost more."""
REPEAT_INTERVAL_S = 0.2
"""Seconds between two broadcasts of the same policy, for late joiners."""
KEPT_VERSIONS = 128
"""Published frames kept, so that the best of them can be written down when its evaluation arrives."""


def publish_interval_s(config: LearnerConfig, in_step: bool, actors_n: int) -> float:
    """Return the seconds between two broadcasts.

    Args:
        config: the user's word goes first.
        in_step: whether the rate limiter keeps updates and env steps together.
        actors_n: live actors.
    """
    if config.publish_interval_s is not None:
        return config.publish_interval_s
    if not in_step:
        return PUBLISH_INTERVAL_S
    return min(PUBLISH_INTERVAL_S, IN_STEP_PUBLISH_INTERVAL_S * max(1.0, actors_n / IN_STEP_ACTORS_N))


class PolicyPublisher:
    """Turns the agent's policy into numbered frames.

    Args:
        spec: goes into each frame.
        agent: whose policy it is.
        socket: where frames leave.
        run: where the best and the last policy are written.
    """

    def __init__(self, spec: EnvSpec, agent: SACAgent, socket: WeightsPublisher, run: RunDirectory) -> None:
        self.version = 0
        self.best_score: tuple[float, float] | None = None
        self._spec = spec
        self._agent = agent
        self._socket = socket
        self._run = run
        self._frames: OrderedDict[int, tuple[int, bytes]] = OrderedDict()
        self._published_updates = -1
        self._repeat = Interval(REPEAT_INTERVAL_S)
        self._copied: tuple[PolicyCopy, int, int] | None = None

    def publish(self, env_steps: int, updates: int) -> None:
        """Have the newest policy copied for `deliver`; send the last one again if there is no newer one."""
        if self._copied is None and updates != self._published_updates:
            self._published_updates = updates
            self._copied = (self._agent.copy_policy(), env_steps, updates)
        elif self._frames and self._repeat.due_now():
            self._socket.publish(self._frames[self.version][1])

    def deliver(self, *, wait: bool = False) -> None:
        """Send the policy that is being copied, if there is one and it has arrived.

        Args:
            wait: until it has.

        Raises:
            DivergedError: it holds numbers that no actor could act by.
        """
        if self._copied is None or not (wait or self._copied[0].ready()):
            return
        (copy, env_steps, updates), self._copied = self._copied, None
        policy, average = copy.arrays(), copy.average()
        for arrays in (policy, average):
            require_policy(arrays, updates)
        self.version += 1
        message = Weights(
            version=self.version,
            env_steps=env_steps,
            updates=updates,
            spec=self._spec.to_mapping(),
            policy=policy,
            average=average,
        )
        self._frames[self.version] = (env_steps, encode(message))
        while len(self._frames) > KEPT_VERSIONS:
            self._frames.popitem(last=False)
        self._socket.publish(self._frames[self.version][1])
        self._repeat.restart(time.monotonic())

    def write_last(self) -> None:
        """Write the newest published policy into the run directory."""
        if self._frames:
            self._write("last", self._frames[self.version][1])

    def judge(self, evaluation: Evaluation) -> tuple[Values, bool]:
        """Return an evaluation's metrics, and whether its policy is the best so far (then it is written)."""
        summary = summarise(evaluation.episodes, evaluation.broken)
        values: Values = {"eval_env_steps": evaluation.env_steps, "eval_broken_episodes": evaluation.broken}
        mean_return, success = summary["mean_return"], summary["success_rate"]
        if mean_return is None:
            return values, False
        values["eval_return"] = mean_return
        values["eval_return_std"] = summary["std_return"] or 0.0
        if success is not None:
            values["eval_success"] = success
            values["eval_success_low"] = summary["success_low"] or 0.0
            values["eval_success_high"] = summary["success_high"] or 0.0
        score = (success if success is not None else 0.0, mean_return)
        env_steps, frame = self._frames.get(evaluation.weights_version, (0, None))
        if env_steps != evaluation.env_steps:  # a version of the same number from before a crash
            frame = None
        is_best = frame is not None and (self.best_score is None or score > self.best_score)
        if is_best and frame is not None:
            self.best_score = score
            self._write("best", frame)
        return values, is_best

    def _write(self, which: str, frame: bytes) -> None:
        try:
            write_atomically(self._run.policy(which), frame)
        except OSError as error:
            log.error("%s policy not written: %s", which, error.strerror)

    def state_dict(self) -> dict[str, object]:
        """Return version and best score."""
        return {"version": self.version, "best_score": self.best_score}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from `state_dict()`."""
        version, best_score = state["version"], state["best_score"]
        assert isinstance(version, int)
        assert best_score is None or isinstance(best_score, tuple)
        self.version, self.best_score = version, best_score
