"""Gymnasium spaces -> `EnvSpec`."""

from typing import Any

import gymnasium
import numpy as np

from graspfleet.common.errors import ConfigError
from graspfleet.common.specs import MAX_DIM, EnvSpec

MAX_ACTION_BOUND = 1e9
"""Largest bound of an action, in the environment's own units; ± the largest float means: no bound."""


def read_spec(env: "gymnasium.Env[Any, Any]", name: str, *, discount: float, n_step: int) -> EnvSpec:
    """Read the spec off an environment.

    Raises:
        ConfigError: a space is not a flat Box, or the action Box is unbounded or not one of floats.
    """
    obs, action = (_flat_box(env, name, role) for role in ("observation", "action"))
    if action.dtype.kind != "f":
        raise ConfigError(
            f"--env {name}: its action space {action} holds {action.dtype}, which would cut off"
            " fractions; allowed: a Box of floats"
        )
    low, high = action.low.astype(np.float64), action.high.astype(np.float64)
    bounded = (np.abs(low) <= MAX_ACTION_BOUND) & (np.abs(high) <= MAX_ACTION_BOUND)  # false for NaN
    if not (bounded & (low <= high)).all():
        raise ConfigError(
            f"--env {name}: its action space {action} is unbounded or empty;"
            f" allowed: bounds within ± {MAX_ACTION_BOUND:g}, low <= high"
        )
    return EnvSpec(
        env=name,
        obs_dim=obs.shape[0],
        action_dim=len(low),
        discount=discount,
        n_step=n_step,
        action_low=tuple(low.tolist()),
        action_high=tuple(high.tolist()),
    )


def _flat_box(env: "gymnasium.Env[Any, Any]", name: str, role: str) -> gymnasium.spaces.Box:
    """Return a space of an environment: `role` is observation or action.

    Raises:
        ConfigError: it is not a flat Box of 1 to `MAX_DIM` numbers.
    """
    space = getattr(env, f"{role}_space", None)
    if not (
        isinstance(space, gymnasium.spaces.Box)
        and len(space.shape) == 1
        and 1 <= space.shape[0] <= MAX_DIM
        and space.dtype.kind in "fiub"
    ):
        raise ConfigError(
            f"--env {name}: its {role} space is {' '.join(str(space).split())};"
            f" allowed: a flat Box of 1 to {MAX_DIM} numbers"
        )
    return space
