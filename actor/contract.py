"""Validation of the results of an environment's `reset` and `step`.

In: whatever an environment returns. Out: new arrays and plain values. Must not know: episodes, policies,
sockets.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from graspfleet.common.observations.fields import Observation
from graspfleet.common.observations.reading import PAIRS, ContractError, reason, shown


class ReadObservation(Protocol):
    """Converts an observation to new arrays; `source` is the call that returned it."""

    def __call__(self, source: str, obs: Any, /) -> Observation:
        """Return the arrays; raises as `read_array` does."""


def read_reset(result: Any, read: ReadObservation) -> Observation:
    """Return the observation in the result of `reset`.

    Raises:
        ContractError: the result is not a pair of an observation and an info.
        BrokenEpisodeError: a number is not finite or too large.
    """
    if not (isinstance(result, PAIRS) and len(result) == 2):
        raise ContractError(f"reset() returned {shown(result)}; allowed: observation, info")
    obs, info = result
    _require_mapping("reset()", info)
    return read("reset()", obs)


def read_step(result: Any, read: ReadObservation) -> tuple[Observation, float, bool, bool, Mapping[str, Any]]:
    """Return the parts of the result of `step`: observation, reward, two flags, info.

    Raises:
        ContractError: the result has another form.
        BrokenEpisodeError: a number of the observation is not finite or too large.
    """
    if not (isinstance(result, PAIRS) and len(result) == 5):
        raise ContractError(
            f"step() returned {shown(result)}; allowed: observation, reward, terminated, truncated, info"
        )
    obs, reward, terminated, truncated, info = result
    if type(reward) is not float:
        reward = _scalar("reward", reward, "fiub", "a number")
    if type(terminated) is not bool:
        terminated = _scalar("terminated", terminated, "b", "a bool")
    if type(truncated) is not bool:
        truncated = _scalar("truncated", truncated, "b", "a bool")
    if type(info) is not dict:
        _require_mapping("step()", info)
    return read("step()", obs), float(reward), bool(terminated), bool(truncated), info


def _scalar(name: str, value: Any, kinds: str, allowed: str) -> Any:
    """Convert a NumPy scalar or a zero-dimensional tensor to a plain value."""
    try:
        array = np.asarray(value)
        if array.shape == () and array.dtype.kind in kinds:
            return array.item()
    except Exception as error:
        raise ContractError(f"step() returned {shown(value)} as {name}: {reason(error)}") from None
    raise ContractError(f"step() returned {shown(value)} as {name}; allowed: {allowed}")


def _require_mapping(source: str, info: Any) -> None:
    if not isinstance(info, Mapping):
        raise ContractError(f"{source} returned {shown(info)} as info; allowed: a dict")
