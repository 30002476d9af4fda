"""Checks of one demonstration episode, so that none of its values are changed silently.

In: an episode as the dataset stores it. Out: float32 arrays of matching lengths. Must not know: files,
n-step.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.errors import ConfigError
from graspfleet.common.observations import Floats
from graspfleet.common.specs import MAX_MAGNITUDE, EnvSpec

ROUNDING = 1e-5
"""Tolerance of the action bounds as a fraction of their range; actions within it are clipped."""

Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class DemoEpisode:
    """T env steps.

    Attributes:
        obs: [T + 1, obs_dim].
        action: [T, action_dim], within [-1, 1].
        outside: [T], whether the action lay beyond its bounds.
        reward: [T].
        terminated: [T].
        truncated: [T].
    """

    obs: Floats
    action: Floats
    outside: NDArray[np.bool_]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.action)


def check_episode(who: str, episode: Any, spec: EnvSpec, bounds: Bounds) -> DemoEpisode:
    """Check an episode and scale its actions.

    Args:
        who: prefix of each error message.
        episode: an episode of the dataset.
        spec: layout of a transition.
        bounds: lower and upper action bounds, [action_dim] each, mapped to -1 and 1; where they are equal,
            the action becomes 0.

    Raises:
        ConfigError: a part is missing, has the wrong length, shape or type, or is not finite.
    """
    action = _numbers(who, "actions", episode.actions, (None, spec.action_dim))
    steps = len(action)
    obs = _numbers(who, "observations", episode.observations, (None, spec.obs_dim))
    if len(obs) != steps + 1:
        raise ConfigError(f"{who}: {len(obs)} observations for {steps} actions; allowed: {steps + 1}")
    rest = {}
    for name in ("rewards", "terminations", "truncations"):
        values = rest[name] = _numbers(who, name, getattr(episode, name), (None,))
        if len(values) != steps:
            raise ConfigError(f"{who}: {len(values)} {name} for {steps} actions; allowed: {steps}")
        if name != "rewards" and not np.isin(values, (0, 1)).all():
            raise ConfigError(f"{who}: its {name} are neither true nor false")
    scaled, outside = _scale(action, bounds)
    return DemoEpisode(
        obs=obs.astype(np.float32),
        action=scaled.astype(np.float32),
        outside=outside,
        reward=rest["rewards"],
        terminated=rest["terminations"].astype(bool),
        truncated=rest["truncations"].astype(bool),
    )


def _numbers(who: str, name: str, values: Any, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """Return `values` as an array of finite numbers; None in `shape` matches any length."""
    if not isinstance(values, np.ndarray):
        raise ConfigError(f"{who}: its {name} are a {type(values).__name__}; allowed: an array of numbers")
    fits = values.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, values.shape, strict=True)
    )
    if not fits or values.dtype.kind not in "fiub":
        wanted = [("steps" if size is None else size) for size in shape]
        raise ConfigError(
            f"{who}: its {name} are {list(values.shape)} of {values.dtype}; allowed: {wanted} numbers"
        )
    numbers = values.astype(np.float64)
    if not (np.abs(numbers) <= MAX_MAGNITUDE).all():
        raise ConfigError(f"{who}: its {name} hold NaN, infinity or more than {MAX_MAGNITUDE:g}")
    return numbers


def _scale(action: NDArray[np.float64], bounds: Bounds) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return actions [T, action_dim] scaled to [-1, 1], and a mask [T] of those outside their bounds."""
    low, high = bounds
    reach = high - low
    moving = reach > 0
    room = ROUNDING * np.where(moving, reach, np.maximum(1, np.abs(low)))
    outside = np.any((action < low - room) | (action > high + room), axis=1)
    scaled = 2 * (action - low) / np.where(moving, reach, 1) - 1
    return np.clip(np.where(moving, scaled, 0), -1, 1), outside
