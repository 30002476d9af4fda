"""An actor's view of a Gymnasium environment: observations in arrays of its own, actions in [-1, 1].

In: a Gymnasium id and its arguments. Out: observations; actions are within [-1, 1]. A failed call of
the environment raises `BrokenEpisodeError`, which costs one episode.
"""

import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.contract import read_reset, read_step
from graspfleet.actor.patience import Patience
from graspfleet.actor.registry import make
from graspfleet.actor.spaces import read_spec
from graspfleet.actor.success import SuccessReader
from graspfleet.actor.watchdog import PROCESS_ENDING, UnexpectedInterruptError, Watchdog
from graspfleet.common.errors import BrokenEpisodeError, ConfigError
from graspfleet.common.observations.fields import Floats, Observation
from graspfleet.common.observations.reading import ContractError, reason
from graspfleet.common.observations.space import ObservationSpace
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from graspfleet.common.settings.env_args import parse_env_args
from graspfleet.common.specs import MAX_MAGNITUDE

log = logging.getLogger(__name__)

PERMANENT = (ImportError, NameError, AttributeError, TypeError, NotImplementedError, FileNotFoundError)
"""Errors in the first reset or step that neither another seed nor a pause can fix."""

MAX_EPISODE_STEPS = 10_000
"""Env steps after which an evaluation cuts an episode if the environment has no time limit, that is, neither
Gymnasium's `max_episode_steps` nor `--max-episode-steps`."""


class Environment:
    """One environment with its spec and scaled actions; all calls of environment code are here.

    Args:
        config: the environment.
        returns: discount and n of the spec.
        headless: if false, the environment opens a window.
        render_mode: Gymnasium's; takes precedence over the config's.
        watchdog: makes the calls; default: one without a thread.
        evaluates: whether only the policy is used, so that privileged fields may be missing.

    Attributes:
        name: value of `--env`.
        success: reads an episode's success from its last info.
        patience: counts broken episodes.
        cut_after: env steps after which an evaluation cuts an episode; infinity with a time limit.

    Raises:
        ConfigError: the environment is unknown, cannot be constructed, or has unsupported spaces.
    """

    def __init__(
        self,
        config: EnvConfig,
        returns: ReturnConfig,
        *,
        headless: bool = True,
        render_mode: str | None = None,
        watchdog: Watchdog | None = None,
        evaluates: bool = False,
    ) -> None:
        self.watchdog = watchdog or Watchdog()
        arguments = parse_env_args(config.env_args)
        if config.max_episode_steps is not None:
            arguments["max_episode_steps"] = config.max_episode_steps
        mode = (render_mode or config.render_mode) if headless else "human"
        if mode is not None:  # an environment need not accept a render_mode
            arguments["render_mode"] = mode
        self.name = config.env
        try:
            self.env = self.watchdog.construct(partial(make, config.env, arguments))
        except UnexpectedInterruptError as error:
            raise ConfigError(f"--env {config.env}: {error}") from None
        self._observations = ObservationSpace(
            getattr(self.env, "observation_space", None),
            config.env,
            config.privileged_obs,
            may_lack=evaluates,
        )
        self.spec = read_spec(self.env, config, returns, self._observations)
        self.patience = Patience(config.env, self.watchdog.pause)
        self.success = SuccessReader(config.success_key)
        limit = None if self.env.spec is None else self.env.spec.max_episode_steps
        self.cut_after = MAX_EPISODE_STEPS if limit is None else math.inf
        space = self.env.action_space
        assert isinstance(space, gymnasium.spaces.Box)
        self._dtype = space.dtype
        self._max_reward = MAX_MAGNITUDE / returns.n_step  # a record holds the sum of n rewards
        self._low, self._high = space.low.copy(), space.high.copy()
        self._is_unit = bool((self._low == -1).all() and (self._high == 1).all())  # nothing to scale
        self._middle = (self._high.astype(np.float64) + self._low) / 2
        self._half = (self._high.astype(np.float64) - self._low) / 2

    def check(self, seeds: np.random.Generator) -> tuple[Observation, float]:
        """Validate the environment with a reset and one step in the middle of the action space.

        After a broken episode the check is repeated with another seed, but not after an invalid result.

        Args:
            seeds: source of seeds for this check only.

        Returns:
            The observation and the reward of the step.

        Raises:
            ConfigError: the environment returns invalid results, or no episode starts.
        """
        while True:
            try:
                obs = Environment.reset(self, int(seeds.integers(2**31)))
                self._mention_bounds(obs.vector)
                return Environment.step(self, np.zeros(self.spec.action_dim, np.float32))[:2]
            except BrokenEpisodeError as error:
                if isinstance(error, ContractError) or isinstance(error.__cause__, PERMANENT):
                    raise ConfigError(f"--env {self.name}: {error}") from None
                self.patience.broke(error, 0)

    def reset(self, seed: int) -> Observation:
        """Start an episode and return its first observation.

        Raises:
            BrokenEpisodeError: the reset failed, or the observation is not finite.
        """
        try:
            result = self.watchdog.call(partial(self.env.reset, seed=seed))
        except PROCESS_ENDING:
            raise
        except BaseException as error:
            raise BrokenEpisodeError(f"reset(seed={seed}) raised {reason(error)}") from error
        return read_reset(result, self._observations.read)

    def step(self, action: Floats) -> tuple[Observation, float, bool, bool, Mapping[str, Any]]:
        """Take one step.

        Args:
            action: [action_dim] in [-1, 1]; it is scaled to the environment's bounds.

        Returns:
            next observation, reward, terminated, truncated, and info, which the
            environment may reuse in the next call.

        Raises:
            BrokenEpisodeError: the environment raised, or returned a number that is not finite or too large.
        """
        try:
            result = self.watchdog.call(self.env.step, self._scaled(action))
        except PROCESS_ENDING:
            raise
        except BaseException as error:
            raise BrokenEpisodeError(f"step() raised {reason(error)}") from error
        read = read_step(result, self._observations.read)
        if not abs(read[1]) <= self._max_reward:
            raise BrokenEpisodeError(
                f"step() returned a reward of {read[1]:g}; allowed: within ± {self._max_reward:g}"
            )
        return read

    def reinit(self) -> None:
        """Rebuild the simulation if the environment has a `reinit` method; call it before `reset`.

        Raises:
            BrokenEpisodeError: the environment raised.
        """
        try:
            rebuild = getattr(self.env.unwrapped, "reinit", None)
            if rebuild is not None:
                self.watchdog.call(rebuild)
        except PROCESS_ENDING:
            raise
        except BaseException as error:
            raise BrokenEpisodeError(f"reinit() raised {reason(error)}") from error

    def render(self) -> Any:
        """Return the environment's `render()`.

        Raises:
            BrokenEpisodeError: the environment raised.
        """
        try:
            return self.watchdog.call(self.env.render)
        except PROCESS_ENDING:
            raise
        except BaseException as error:
            raise BrokenEpisodeError(f"render() raised {reason(error)}") from error

    def close(self) -> None:
        """Close the environment; its exceptions are only logged."""
        try:
            self.watchdog.close(self.env.close)
        except PROCESS_ENDING:
            raise
        except BaseException as error:
            log.warning("--env %s: close() raised %s", self.name, reason(error))

    def _mention_bounds(self, vector: Floats) -> None:
        """Log a first observation outside its declared space; it is accepted."""
        if (outside := self._observations.outside(vector)) is not None:
            place, value = outside
            log.warning(
                "--env %s: the first observation has %g at %s, outside its space", self.name, value, place
            )

    def _scaled(self, action: Floats) -> NDArray[Any]:
        """Return an action in [-1, 1] scaled to the environment's own bounds."""
        if self._is_unit:
            return action.astype(self._dtype)  # a copy: an environment may modify its argument
        scaled: NDArray[Any] = self._middle + self._half * action
        np.maximum(scaled, self._low, out=scaled)  # np.clip does the same and takes three times as long
        np.minimum(scaled, self._high, out=scaled)
        return scaled.astype(self._dtype, copy=False)
