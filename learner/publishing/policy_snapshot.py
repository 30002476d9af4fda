"""A copy of the policy that may still be in transfer from the device.

In: arrays on the host, and an event for the end of the copy. Out: the arrays that actors use. Must not know:
algorithms, frames, torch.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.observations.encoder import LATENT

Arrays = Mapping[str, NDArray[np.float32]]
Vector = NDArray[np.float64]


class Arrival(Protocol):
    """The end of a copy from the device, such as a `torch.cuda.Event`."""

    def query(self) -> bool:
        """Return whether the copy is complete."""

    def synchronize(self) -> object:
        """Wait until the copy is complete."""


class PolicySnapshot:
    """The policy at one point in time, and its moving average if one is kept.

    Args:
        policy: parameters as `common.policy.NumpyPolicy` takes them, in memory that is not modified
            elsewhere; views with any strides.
        ema: parameters of the moving average; empty without one.
        arrival: end of the copy that fills the arrays; None if they are filled already.
    """

    def __init__(self, policy: Arrays, ema: Arrays | None = None, arrival: Arrival | None = None) -> None:
        self._policy, self._ema = policy, ema or {}
        self._arrival = arrival
        self._inputs: tuple[Vector, Vector, int] | None = None

    def acting(self, policy: "PolicySnapshot") -> "PolicySnapshot":
        """Return a snapshot whose newest policy, for the actors, is another one; evaluations stay with this.

        The average, or without one the newest policy, becomes the average. This copy must be complete.
        """
        assert self._arrival is None
        return PolicySnapshot(policy._policy, self._ema or self._policy, policy._arrival)

    def with_inputs(self, mean: Vector, std: Vector, policy_dim: int) -> "PolicySnapshot":
        """Return the same policy for inputs x in place of (x - mean) / std.

        The rows of w0 for these inputs, its first ones, are divided by std, and b0 becomes
        b0 - (mean / std) w0, in float64.

        Args:
            mean: [obs_dim].
            std: [obs_dim], positive.
            policy_dim: numbers that a policy sees, unless it sees all; see `common.policy.sees_everything`.
        """
        snapshot = PolicySnapshot(self._policy, self._ema, self._arrival)
        snapshot._inputs = mean, std, policy_dim
        return snapshot

    def ready(self) -> bool:
        """Return whether `arrays` would return without waiting."""
        return self._arrival is None or self._arrival.query()

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the policy's parameters; waits for the copy."""
        return self._copies(self._policy)

    def ema(self) -> dict[str, NDArray[np.float32]]:
        """Return the moving average's parameters, empty if there is none; waits for the copy."""
        return self._copies(self._ema)

    def _copies(self, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
        if self._arrival is not None:
            self._arrival.synchronize()
        copies = {name: np.array(array, order="C") for name, array in arrays.items()}
        if self._inputs is not None and copies:
            mean, std, policy_dim = self._inputs
            seen = len(mean) if len(copies["w0"]) == len(mean) and LATENT[0] not in copies else policy_dim
            weights = copies["w0"][:seen] / std[:seen, None]
            copies["w0"][:seen] = weights
            copies["b0"] = (copies["b0"] - mean[:seen] @ weights).astype(np.float32)
        return copies
