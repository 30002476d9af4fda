"""Publishing of the policy as numbered frames, and writing of the last one to disk."""

import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from graspfleet.common.evaluation.candidates import Key
from graspfleet.common.messages import Weights
from graspfleet.common.protocol import encode
from graspfleet.common.runtime.files import write_atomically
from graspfleet.common.runtime.interval import Interval
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.numerics.divergence import require_policy
from graspfleet.learner.publishing.cadence import Cadence
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot
from graspfleet.learner.publishing.published_frames import PublishedFrames
from graspfleet.learner.reporting.metric import Metric

log = logging.getLogger(__name__)

METRICS = {
    "weights_version": Metric(
        "versions",
        "published policies, each different from the one before; no number is used twice, even after a kill",
        "counter",
    ),
}
"""Metrics that this part measures."""

REPEAT_INTERVAL_S = 0.2
"""Seconds between two broadcasts of the same policy, for late joiners."""


class HasPolicy(Protocol):
    """Source of the published policies."""

    def policy(self) -> PolicySnapshot:
        """Return the current policy, possibly still in transfer from the device."""


class Frames(Protocol):
    """The socket that sends frames."""

    def publish(self, frame: bytes) -> None:
        """Send a frame to all subscribers."""


class PolicyPublisher:
    """Turns the learned policy into numbered frames.

    Args:
        spec: included in each frame.
        algorithm: source of the policy.
        socket: sends the frames.
        run: run directory where the last policy is written.
        cadence: decides when a policy is due.
        reserve: called with each version before it is sent, so that a number is never used for another
            policy.
        published: called with version and env steps of each policy after it was sent.

    Attributes:
        version: number of the newest frame.
        frames: frames whose evaluations can still be counted.
    """

    def __init__(
        self,
        spec: EnvSpec,
        algorithm: HasPolicy,
        socket: Frames,
        run: RunDirectory,
        cadence: Cadence,
        *,
        reserve: Callable[[int], object] = lambda version: None,
        published: Callable[[int, int], object] = lambda version, env_steps: None,
    ) -> None:
        self.version = 0
        self.frames = PublishedFrames()
        self._spec, self._algorithm, self._socket, self._run = spec, algorithm, socket, run
        self._cadence, self._reserve, self._published = cadence, reserve, published
        self._newest: bytes | None = None
        self._published_updates = -1
        self._repeat = Interval(REPEAT_INTERVAL_S)
        self._leaving: tuple[PolicySnapshot, int, int] | None = None

    def publish(
        self, now_s: float, env_steps: int, updates: int, num_actors: int, *, now: bool = False
    ) -> None:
        """Start copying the newest policy if one is due, and send it once the copy is complete.

        If there is no new policy, the last frame is repeated every `REPEAT_INTERVAL_S`.

        Args:
            now_s: monotonic time, seconds.
            env_steps: env steps received so far.
            updates: updates done so far; nothing is published before the first.
            num_actors: number of live actors.
            now: publish regardless of the cadence.
        """
        if not updates or not (now or self._cadence.due(now_s, env_steps, num_actors)):
            return
        if self._leaving is None and updates != self._published_updates:
            self._published_updates = updates
            self._repeat.restart(now_s)
            self._leaving = (self._algorithm.policy(), env_steps, updates)
        elif self._newest is not None and self._repeat.due(now_s):
            self._socket.publish(self._newest)
        self.deliver()

    def deliver(self, *, wait: bool = False) -> None:
        """Send the policy that is being copied, if there is one and the copy is complete.

        Args:
            wait: wait for the end of the copy.

        Raises:
            DivergedError: a weight is not finite or too large.
        """
        if self._leaving is None or not (wait or self._leaving[0].ready()):
            return
        (snapshot, env_steps, updates), self._leaving = self._leaving, None
        policy, ema = snapshot.arrays(), snapshot.ema()
        for arrays in (policy, ema):
            require_policy(arrays, updates)
        self.version += 1
        self._reserve(self.version)
        message = Weights(
            version=self.version,
            env_steps=env_steps,
            updates=updates,
            spec=self._spec,
            policy=policy,
            ema=ema,
        )
        self._newest = encode(message)
        self.frames.add(Key(self.version, env_steps), self._newest)
        self._socket.publish(self._newest)
        self._published(self.version, env_steps)

    def metrics(self) -> Mapping[str, float]:
        """Return the newest version's number."""
        return {"weights_version": self.version}

    def write_last(self) -> None:
        """Write the newest published policy into the run directory."""
        if self._newest is None:
            return
        try:
            write_atomically(self._run.policy("last"), self._newest)
        except OSError as error:
            log.error("the last policy could not be written: %s", error.strerror)

    def state_dict(self) -> dict[str, object]:
        """Return the newest version's number."""
        return {"version": self.version}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore the state from `state_dict()`."""
        version = state["version"]
        assert isinstance(version, int)
        self.version = version
