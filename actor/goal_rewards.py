"""Rewards for other goals, computed by an environment's own `compute_reward`.

In: achieved and desired goals. Out: rewards as new arrays. Must not know: episodes, transitions.
"""

import logging
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.environment import Environment
from graspfleet.actor.watchdog import PROCESS_ENDING
from graspfleet.common.errors import BrokenEpisodeError, ConfigError
from graspfleet.common.observations.fields import Floats, Observation, ObsField
from graspfleet.common.observations.reading import reason, shown
from graspfleet.common.specs import MAX_MAGNITUDE

log = logging.getLogger(__name__)

ACHIEVED, DESIRED = "achieved_goal", "desired_goal"
"""Fields of an observation that hold the goals, as in Gymnasium-Robotics."""
TOLERANCE = 1e-4
"""Largest difference, absolute and relative, between a step's reward and the one computed for its goals."""


class GoalRewards:
    """Rewards of an environment with goals.

    Args:
        env: the environment.
        takes_many: whether its `compute_reward` takes several goals at once; `check` finds out.

    Attributes:
        achieved, desired: places of the goals in an observation's vector.

    Raises:
        ConfigError: its observations have no two goals of one shape, or it has no `compute_reward`.
    """

    def __init__(self, env: Environment, *, takes_many: bool = True) -> None:
        self._env = env
        self.takes_many = takes_many
        places: dict[str, tuple[slice, ObsField]] = {}
        start = 0
        for field in env.spec.fields:
            if not field.is_image:
                places[field.name] = slice(start, start + field.size), field
                start += field.size
        achieved, desired = places.get(ACHIEVED), places.get(DESIRED)
        if achieved is None or desired is None or achieved[1].shape != desired[1].shape:
            raise ConfigError(
                f"--her: --env {env.name} has observations {env.spec.layout};"
                f" allowed: a Dict with {ACHIEVED} and {DESIRED} of one shape"
            )
        self._shape = achieved[1].shape
        self.achieved, self.desired = achieved[0], desired[0]
        if not callable(getattr(env.env.unwrapped, "compute_reward", None)):
            raise ConfigError(f"--her: --env {env.name}: allowed: one with a compute_reward method")

    def check(self, obs: Observation, reward: float) -> None:
        """Compare the reward of an env step with the computed one, and find out whether many can be computed.

        Args:
            obs: the observation after the step.
            reward: of the step.

        Raises:
            ConfigError: `compute_reward` fails.
        """
        goals = [np.stack([obs.vector[place]] * 2) for place in (self.achieved, self.desired)]
        try:
            self.takes_many = False
            one_by_one = self.compute(*goals)
        except BrokenEpisodeError as error:
            raise ConfigError(f"--her: --env {self._env.name}: {error}") from None
        try:
            self.takes_many = True
            self.takes_many = bool((self.compute(*goals) == one_by_one).all())
        except BrokenEpisodeError:
            self.takes_many = False
        if not np.isclose(one_by_one[0], reward, rtol=TOLERANCE, atol=TOLERANCE):
            log.warning(
                "--her: --env %s: compute_reward() gives %g for an env step whose reward was %g; relabeled"
                " transitions have its rewards",
                self._env.name,
                one_by_one[0],
                reward,
            )

    def compute(self, achieved: Floats, desired: Floats) -> NDArray[np.float64]:
        """Return the rewards [M] of achieved goals [M, G] for desired ones [M, G].

        Raises:
            BrokenEpisodeError: the environment raised, or returned something else than finite numbers.
        """
        shape = (len(achieved), *self._shape)
        achieved, desired = achieved.reshape(shape), desired.reshape(shape)
        if self.takes_many:
            return self._call(achieved.copy(), desired.copy(), (len(achieved),))
        pairs = zip(achieved, desired, strict=True)
        return np.array([self._call(one.copy(), other.copy(), ()) for one, other in pairs])

    def _call(self, achieved: Floats, desired: Floats, shape: tuple[int, ...]) -> NDArray[np.float64]:
        compute: Any = self._env.env.unwrapped.compute_reward
        try:
            result = self._env.watchdog.call(partial(compute, achieved, desired, {}))
            rewards = np.array(result, np.float64)
        except PROCESS_ENDING:
            raise
        except BaseException as error:
            raise BrokenEpisodeError(f"compute_reward() raised {reason(error)}") from error
        limit = MAX_MAGNITUDE / self._env.spec.n_step
        wrong = rewards[~(np.abs(rewards) <= limit)]  # also NaN
        if rewards.shape != shape or wrong.size:
            found = f"{wrong[0]:g}" if wrong.size else shown(result)
            raise BrokenEpisodeError(
                f"compute_reward() returned {found}; allowed: numbers of shape {shape} within ± {limit:g}"
            )
        return rewards
