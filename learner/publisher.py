"""Publishes the policy as numbered frames, and writes the last one down."""

import logging
import time

from common.candidates import Key
from common.config import LearnerConfig
from common.interval import Interval
from common.messages import Weights
from common.protocol import encode
from common.run_directory import RunDirectory, write_atomically
from common.specs import EnvSpec
from common.transport import WeightsPublisher
from learner.divergence import require_policy
from learner.frames import PublishedFrames
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
        run: where the last policy is written.

    Attributes:
        version: number of the newest frame.
        frames: those that an evaluation may still speak of.
    """

    def __init__(self, spec: EnvSpec, agent: SACAgent, socket: WeightsPublisher, run: RunDirectory) -> None:
        self.version = 0
        self.frames = PublishedFrames()
        self._spec = spec
        self._agent = agent
        self._socket = socket
        self._run = run
        self._newest: bytes | None = None
        self._published_updates = -1
        self._repeat = Interval(REPEAT_INTERVAL_S)
        self._copied: tuple[PolicyCopy, int, int] | None = None

    def publish(self, env_steps: int, updates: int) -> None:
        """Have the newest policy copied for `deliver`; send the last one again if there is no newer one."""
        if self._copied is None and updates != self._published_updates:
            self._published_updates = updates
            self._copied = (self._agent.copy_policy(), env_steps, updates)
        elif self._newest is not None and self._repeat.due_now():
            self._socket.publish(self._newest)

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
        self._newest = encode(message)
        self.frames.add(Key(self.version, env_steps), self._newest)
        self._socket.publish(self._newest)
        self._repeat.restart(time.monotonic())

    def write_last(self) -> None:
        """Write the newest published policy into the run directory."""
        if self._newest is None:
            return
        try:
            write_atomically(self._run.policy("last"), self._newest)
        except OSError as error:
            log.error("last policy not written: %s", error.strerror)

    def state_dict(self) -> dict[str, object]:
        """Return the newest version's number."""
        return {"version": self.version}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Go on from `state_dict()`."""
        version = state["version"]
        assert isinstance(version, int)
        self.version = version
