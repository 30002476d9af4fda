"""Any Gymnasium environment with flat Box spaces, as the actors see it.

In: a Gymnasium id and its arguments. Out: float32 observations, actions taken within [-1, 1]. Whatever
the environment is about stays inside it.
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from common.config import EnvConfig, ReturnConfig
from common.errors import ConfigError
from common.flags import parse_env_args
from common.specs import MAX_MAGNITUDE, EnvSpec, Floats


class Environment:
    """One environment with its spec and its actions scaled.

    Args:
        config: which environment.
        returns: discount and n, which the spec fixes too.
        headless: whether to show no window.
        render_mode: Gymnasium's, for pictures instead.

    Raises:
        ConfigError: it is unknown, cannot be made, or its spaces do not fit.
    """

    def __init__(
        self,
        config: EnvConfig,
        returns: ReturnConfig,
        *,
        headless: bool = True,
        render_mode: str | None = None,
    ) -> None:
        arguments = parse_env_args(config.env_args)
        if config.max_episode_steps is not None:
            arguments["max_episode_steps"] = config.max_episode_steps
        self.env = make(config.env, arguments, render_mode=render_mode if headless else "human")
        self.spec = EnvSpec.of(self.env, config.env, discount=returns.discount, n_step=returns.n_step)
        space = self.env.action_space
        assert isinstance(space, gymnasium.spaces.Box)
        self._dtype = space.dtype
        self._max_reward = MAX_MAGNITUDE / returns.n_step  # a record holds the sum of n of them
        self._low, self._high = space.low, space.high
        self._is_unit = bool((self._low == -1).all() and (self._high == 1).all())  # nothing to scale
        self._middle = (self._high.astype(np.float64) + self._low) / 2
        self._half = (self._high.astype(np.float64) - self._low) / 2

    def reset(self, seed: int) -> Floats:
        """Start an episode and return its first observation, [obs_dim] float32.

        Raises:
            FloatingPointError: it is not finite; `recoverable`, see `is_recoverable`.
        """
        obs, _ = self.env.reset(seed=seed)
        obs = np.asarray(obs, np.float32)
        if not _is_sound(obs):
            raise FloatingPointError(f"the environment began with NaN or beyond {MAX_MAGNITUDE:g}")
        return obs

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, Mapping[str, Any]]:
        """Take one step.

        Args:
            action: [action_dim] in [-1, 1]; it is scaled to the environment's bounds.

        Returns:
            next observation [obs_dim] float32, reward, terminated, truncated, info.

        Raises:
            FloatingPointError: an observation or reward is not finite, or huge; see `is_recoverable`.
        """
        obs, reward, terminated, truncated, info = self.env.step(self._scaled(action))
        obs, reward = np.asarray(obs, np.float32), float(reward)
        if not (_is_sound(obs) and abs(reward) <= self._max_reward):
            raise FloatingPointError(
                f"the environment returned NaN, a value beyond {MAX_MAGNITUDE:g} or a reward of {reward:g}"
            )
        return obs, reward, bool(terminated), bool(truncated), info

    def reinit(self) -> None:
        """Rebuild the simulation, if the environment knows how to; call before `reset`."""
        rebuild = getattr(self.env.unwrapped, "reinit", None)
        if rebuild is not None:
            rebuild()

    def close(self) -> None:
        """Give back what the environment holds."""
        self.env.close()

    def _scaled(self, action: Floats) -> NDArray[Any]:
        """Return an action in [-1, 1] within the environment's own bounds."""
        if self._is_unit:
            return action.astype(self._dtype)  # a copy: an environment may change what it is given
        scaled: NDArray[Any] = self._middle + self._half * action
        np.maximum(scaled, self._low, out=scaled)  # np.clip does the same and takes three times as long
        np.minimum(scaled, self._high, out=scaled)
        return scaled.astype(self._dtype, copy=False)


def _is_sound(obs: Floats) -> bool:
    """Whether every number of [obs_dim] is finite and at most `MAX_MAGNITUDE`."""
    return bool(np.abs(obs).max() <= MAX_MAGNITUDE)  # false for NaN too


def is_recoverable(error: Exception) -> bool:
    """Whether a failed step spoils only its episode: NaNs, or an error that says `recoverable` of itself."""
    return isinstance(error, FloatingPointError) or bool(getattr(error, "recoverable", False))


def make(name: str, arguments: Mapping[str, Any], *, render_mode: str | None) -> "gymnasium.Env[Any, Any]":
    """Return a new environment.

    Raises:
        ConfigError: no such environment, or it refuses its arguments.
    """
    try:
        return gymnasium.make(name, render_mode=render_mode, disable_env_checker=True, **arguments)
    except ModuleNotFoundError as error:
        raise ConfigError(f"--env {name}: {error}; allowed: a Gymnasium id, or package:Id-v0") from None
    except (gymnasium.error.Error, TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--env {name} {dict(arguments) or ''}: {' '.join(str(error).split())}") from None
