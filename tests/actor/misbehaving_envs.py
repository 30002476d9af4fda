"""Environments as users write them: each breaks one promise. `make` registers and wraps one."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from graspfleet.actor.environment import Environment
from graspfleet.common.settings.config import EnvConfig, ReturnConfig


class Counting(gymnasium.Env[Any, Any]):
    """Keeps every promise: the observation counts the steps of the episode, each of which costs 1."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    length = 20

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.observation_space = Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.t = self.seed = 0

    def observe(self) -> Any:
        return np.full(3, self.t, np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.t, self.seed = 0, seed or 0
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return self.observe(), -1.0, False, self.t >= self.length, {}


class OwnBuffer(Counting):
    """Returns one array, refilled in place, and scribbles on the actions that it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = np.zeros(3, np.float32)

    def observe(self) -> Any:
        self.buffer[:] = self.t
        return self.buffer

    def step(self, action: Any) -> Any:
        result = super().step(action)
        action[:] = 99
        return result


class OwnInfo(Counting):
    """Keeps one info, whose success is true in the last step alone, and clears it at once afterwards."""

    length = 3

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.said["is_success"] = np.array(False)
        return super().reset(seed=seed)[0], self.said

    def step(self, action: Any) -> Any:
        *most, _ = super().step(action)
        self.said["is_success"][...] = most[3]
        return *most, self.said


class BreaksForOddSeeds(Counting):
    """Returns NaN in step 10 of episodes with odd seeds."""

    def observe(self) -> Any:
        obs = super().observe()
        obs[1] = np.nan if self.seed % 2 and self.t == 10 else self.t
        return obs


class AlwaysBreaks(Counting):
    """Raises in step `at` of every episode that is not the first."""

    def __init__(self, at: int = 1, error: type[BaseException] = RuntimeError) -> None:
        super().__init__()
        self.at, self.error, self.resets = at, error, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.resets += 1
        if self.resets > 1 and self.at == 0:
            raise self.error("no solution")
        return super().reset(seed=seed)

    def step(self, action: Any) -> Any:
        if self.resets > 1 and self.t + 1 == self.at:
            raise self.error("link lost")
        return super().step(action)


class Closes(Counting):
    """Raises when it is closed."""

    def close(self) -> None:
        raise RuntimeError("not connected to the physics server")


class TakesNothing(Counting):
    """Its constructor takes no argument."""

    def __init__(self) -> None:
        super().__init__()


def returning(
    reset: Callable[[Any, Any], Any] | None = None, step: Callable[..., Any] | None = None
) -> type[Counting]:
    """Return an environment whose results are changed.

    Args:
        reset: maps observation and info to what `reset` returns.
        step: maps the five values to what `step` returns.
    """

    class Returning(Counting):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            result = super().reset(seed=seed)
            return reset(*result) if reset is not None else result

        def step(self, action: Any) -> Any:
            result = super().step(action)
            return step(*result) if step is not None else result

    return Returning


def make(kind: Callable[..., Any], *env_args: str, n_step: int = 1, **settings: Any) -> Environment:
    """Return an environment of this class, as an actor has it."""
    name = f"{getattr(kind, '__name__', 'Watchdog')}-v0"
    gymnasium.registry.pop(name, None)
    gymnasium.register(name, entry_point=kind)
    return Environment(
        EnvConfig(env=name, env_args=env_args, **settings), ReturnConfig(discount=0.5, n_step=n_step)
    )
