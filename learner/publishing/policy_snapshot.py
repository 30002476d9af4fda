"""A copy of the policy that may still be on its way from the device.

In: arrays on the host, and what tells that they have arrived. Out: the arrays that actors take. Must not
know: algorithms, frames, torch.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[np.float32]]


class Arrival(Protocol):
    """The end of a copy from the device, such as a `torch.cuda.Event`."""

    def query(self) -> bool:
        """Return whether it has come."""

    def synchronize(self) -> object:
        """Wait for it."""


class PolicySnapshot:
    """The policy as it was at one moment, and its moving average if one is kept.

    Args:
        policy: parameters as `common.policy.NumpyPolicy` takes them, in memory that nobody else changes;
            views of any strides.
        ema: those of the moving average; empty without one.
        arrival: of the copy that fills them; None when they are filled.
    """

    def __init__(self, policy: Arrays, ema: Arrays | None = None, arrival: Arrival | None = None) -> None:
        self._policy, self._ema = policy, ema or {}
        self._arrival = arrival

    def ready(self) -> bool:
        """Return whether `arrays` would return at once."""
        return self._arrival is None or self._arrival.query()

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the policy's parameters; may wait."""
        return self._copies(self._policy)

    def ema(self) -> dict[str, NDArray[np.float32]]:
        """Return the moving average's, empty if there is none; may wait."""
        return self._copies(self._ema)

    def _copies(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        if self._arrival is not None:
            self._arrival.synchronize()
        return {name: np.array(array, order="C") for name, array in arrays.items()}
