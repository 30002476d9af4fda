"""Checks of one demonstration episode, so that none of its values are changed silently.

In: an episode as the dataset stores it. Out: observations and arrays of matching lengths. Must not know:
files, n-step.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.errors import BrokenEpisodeError, ConfigError
from graspfleet.common.observations.fields import Floats, Observation
from graspfleet.common.observations.space import ObservationSpace
from graspfleet.common.specs import MAX_MAGNITUDE, EnvSpec

ROUNDING = 1e-5
"""Tolerance of the action bounds as a fraction of their range; actions within it are clipped."""

Bounds = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class DemoEpisode:
    """T env steps.

    Attributes:
        obs: T + 1 observations.
        action: [T, action_dim], within [-1, 1].
        outside: [T], whether the action lay beyond its bounds.
        reward: [T].
        terminated: [T].
        truncated: [T].
    """

    obs: list[Observation]
    action: Floats
    outside: NDArray[np.bool_]
    reward: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.action)


def check_episode(
    who: str, episode: Any, spec: EnvSpec, bounds: Bounds, reader: ObservationSpace
) -> DemoEpisode:
    """Check an episode and scale its actions.

    Args:
        who: prefix of each error message.
        episode: an episode of the dataset.
        spec: layout of a transition.
        bounds: lower and upper action bounds, [action_dim] each, mapped to -1 and 1; where they are equal,
            the action becomes 0.
        reader: of the dataset's observation space.

    Raises:
        ConfigError: a part is missing, has the wrong length, shape or type, or is not finite.
    """
    action = _numbers(who, "actions", episode.actions, (None, spec.action_dim))
    steps = len(action)
    obs = _observations(who, episode.observations, spec, reader)
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
        obs=obs,
        action=scaled.astype(np.float32),
        outside=outside,
        reward=rest["rewards"],
        terminated=rest["terminations"].astype(bool),
        truncated=rest["truncations"].astype(bool),
    )


def _observations(who: str, values: Any, spec: EnvSpec, reader: ObservationSpace) -> list[Observation]:
    """Return an episode's observations; a flat array is checked at once, which is faster than one by one.

    Raises:
        ConfigError: they do not have the form of the space, or are not finite.
    """
    if reader.fields is None:
        numbers = _numbers(who, "observations", values, (None, spec.obs_dim)).astype(np.float32)
        return [Observation(vector) for vector in numbers]
    lengths = set(_lengths(values))
    if len(lengths) != 1:
        raise ConfigError(
            f"{who}: its observations have parts of {sorted(lengths)} steps; allowed: one length"
        )
    try:
        return [reader.read(f"{who}, step {t}", _at(values, t)) for t in range(lengths.pop())]
    except BrokenEpisodeError as error:
        raise ConfigError(str(error)) from None


def _lengths(values: Any) -> Iterator[int]:
    """Yield the lengths of the arrays in nested dicts and tuples; 0 for anything else."""
    if isinstance(values, dict | tuple):
        for part in values.values() if isinstance(values, dict) else values:
            yield from _lengths(part)
    else:
        yield len(values) if isinstance(values, np.ndarray) and values.ndim else 0


def _at(values: Any, t: int) -> Any:
    """Return the observation of step `t` from dicts and tuples of arrays."""
    if isinstance(values, dict):
        return {name: _at(part, t) for name, part in values.items()}
    return tuple(_at(part, t) for part in values) if isinstance(values, tuple) else values[t]


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
