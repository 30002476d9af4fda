"""Detection of diverged training, before its numbers are published or saved.

In: a policy's arrays, or a checkpoint's state. Out: nothing, or an error that names the first bad array. The
check runs where numbers leave the agent and not after each update, because NaN stays NaN.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graspfleet.common.errors import DivergedError

MAX_WEIGHT = 1e6
"""Largest magnitude of a policy's weight. Three layers of larger weights overflow float32 for observations of
2^24, so actions would be NaN although every weight is finite. Adam would need 10^9 updates at 1e-3 to reach
it."""


def require_policy(arrays: Mapping[str, NDArray[np.float32]], updates: int) -> None:
    """Refuse a policy that has diverged.

    Args:
        arrays: the policy's weights, by name.
        updates: number of updates after which it was copied, for the error message.

    Raises:
        DivergedError: a weight is NaN, infinite or larger than `MAX_WEIGHT`.
    """
    for name, array in arrays.items():
        values = array.ravel()
        if np.dot(values, values) <= MAX_WEIGHT**2:  # one fast pass; False for NaN
            continue
        if not np.abs(values).max() <= MAX_WEIGHT:
            raise DivergedError(
                f"training has diverged after {updates} updates:"
                f" the policy's {name} holds {np.abs(array).max():g}"
            )


def require_state(state: Mapping[str, Any]) -> None:
    """Refuse a state that has diverged.

    Raises:
        DivergedError: a floating-point tensor in it holds NaN or infinity.
    """
    for name, tensor in _tensors(state):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DivergedError(
                f"training has diverged after {state.get('updates')} updates: {name} is not finite"
            )


def _tensors(state: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every tensor in nested containers with its dotted path."""
    if isinstance(state, torch.Tensor):
        yield name, state
    elif isinstance(state, Mapping):
        for key, value in state.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(state, list | tuple):
        for index, value in enumerate(state):
            yield from _tensors(value, f"{name}.{index}")
