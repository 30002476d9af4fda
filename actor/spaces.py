"""Gymnasium spaces -> `EnvSpec`."""

from typing import Any

import gymnasium
import numpy as np

from graspfleet.common.errors import ConfigError
from graspfleet.common.observations.fields import MAX_DIM
from graspfleet.common.observations.space import ObservationSpace
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from graspfleet.common.specs import EnvSpec

MAX_ACTION_BOUND = 1e9
"""Largest bound of an action, in the environment's units; ± the largest float stands for no bound."""


def read_spec(
    env: "gymnasium.Env[Any, Any]",
    config: EnvConfig,
    returns: ReturnConfig,
    observations: ObservationSpace,
) -> EnvSpec:
    """Return the spec of an environment.

    Raises:
        ConfigError: the action space is not a flat bounded Box of floats.
    """
    name = config.env
    action = _action_box(env, name)
    low, high = action.low.astype(np.float64), action.high.astype(np.float64)
    bounded = (np.abs(low) <= MAX_ACTION_BOUND) & (np.abs(high) <= MAX_ACTION_BOUND)  # false for NaN
    if not (bounded & (low <= high)).all():
        raise ConfigError(
            f"--env {name}: its action space {action} is unbounded or empty;"
            f" allowed: bounds within ± {MAX_ACTION_BOUND:g}, low <= high"
        )
    return EnvSpec(
        env=config.env_id,
        obs_dim=observations.obs_dim,
        action_dim=len(low),
        discount=returns.discount,
        n_step=returns.n_step,
        action_low=tuple(low.tolist()),
        action_high=tuple(high.tolist()),
        obs_fields=observations.fields,
    )


def _action_box(env: "gymnasium.Env[Any, Any]", name: str) -> gymnasium.spaces.Box:
    """Return the action space of an environment.

    Raises:
        ConfigError: the space is not a flat Box of 1 to `MAX_DIM` floats.
    """
    space = getattr(env, "action_space", None)
    if not (
        isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1 and 1 <= space.shape[0] <= MAX_DIM
    ):
        raise ConfigError(
            f"--env {name}: its action space is {' '.join(str(space).split())};"
            f" allowed: a flat Box of 1 to {MAX_DIM} floats"
        )
    if space.dtype.kind != "f":
        raise ConfigError(
            f"--env {name}: its action space {space} has dtype {space.dtype}, which would truncate"
            " actions; allowed: a Box of floats"
        )
    return space
