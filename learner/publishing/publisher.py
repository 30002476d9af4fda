"""Publishes the policy as numbered frames, and writes the last one down."""

import logging
from collections.abc import Callable

from common.evaluation.candidates import Key
from common.messages import Weights
from common.net.weights import WeightsPublisher
from common.protocol import encode
from common.runtime.files import write_atomically
from common.runtime.interval import Interval
from common.runtime.run_directory import RunDirectory
from common.specs import EnvSpec
from learner.divergence import require_policy
from learner.publishing.policy_snapshot import PolicySnapshot
from learner.publishing.published_frames import PublishedFrames
from learner.sac.agent import SACAgent

log = logging.getLogger(__name__)

REPEAT_INTERVAL_S = 0.2
"""Seconds between two broadcasts of the same policy, for late joiners."""


class PolicyPublisher:
    """Turns the agent's policy into numbered frames.

    Args:
        spec: goes into each frame.
        agent: whose policy it is.
        socket: where frames leave.
        run: where the last policy is written.
        reserve: is told each version before it leaves, so that it never stands for another policy.

    Attributes:
        version: number of the newest frame.
        frames: those that an evaluation may still speak of.
    """

    def __init__(
        self,
        spec: EnvSpec,
        agent: SACAgent,
        socket: WeightsPublisher,
        run: RunDirectory,
        reserve: Callable[[int], object] = lambda version: None,
    ) -> None:
        self.version = 0
        self.frames = PublishedFrames()
        self._spec = spec
        self._agent = agent
        self._socket = socket
        self._run = run
        self._reserve = reserve
        self._newest: bytes | None = None
        self._published_updates = -1
        self._repeat = Interval(REPEAT_INTERVAL_S)
        self._copied: tuple[PolicySnapshot, int, int] | None = None

    def publish(self, env_steps: int, updates: int, now_s: float) -> None:
        """Have the newest policy copied for `deliver`; where there is none, repeat the last now and then.

        Args:
            env_steps: learned from so far.
            updates: taken so far.
            now_s: monotonic time, seconds.
        """
        if self._copied is None and updates != self._published_updates:
            self._published_updates = updates
            self._repeat.restart(now_s)
            self._copied = (self._agent.copy_policy(), env_steps, updates)
        elif self._newest is not None and self._repeat.due(now_s):
            self._socket.publish(self._newest)

    def deliver(self, *, wait: bool = False) -> Key | None:
        """Send the policy that is being copied, if there is one and it has arrived.

        Args:
            wait: until it has.

        Returns:
            the policy that was sent, if any.

        Raises:
            DivergedError: it holds numbers that no actor could act by.
        """
        if self._copied is None or not (wait or self._copied[0].ready()):
            return None
        (copy, env_steps, updates), self._copied = self._copied, None
        policy, average = copy.arrays(), copy.average()
        for arrays in (policy, average):
            require_policy(arrays, updates)
        self.version += 1
        self._reserve(self.version)
        message = Weights(
            version=self.version,
            env_steps=env_steps,
            updates=updates,
            spec=self._spec.to_mapping(),
            policy=policy,
            ema=average,
        )
        self._newest = encode(message)
        key = Key(self.version, env_steps)
        self.frames.add(key, self._newest)
        self._socket.publish(self._newest)
        return key

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
