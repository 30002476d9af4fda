"""A copy of the policy that may still be on its way from the device.

In: tensors on the host, and what tells that they have arrived. Out: the arrays that actors take. Must not
know: agents, frames.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class PolicySnapshot:
    """The policy as it was at one moment, and its average if one is kept.

    Args:
        parts: parameters by name, on the host, nobody else's: the policy's, then perhaps the average's.
        arrived: of the copy that fills them; None when they are filled.
    """

    def __init__(
        self, parts: Sequence[Mapping[str, Tensor]], arrived: torch.cuda.Event | None = None
    ) -> None:
        self._parts, self._arrived = parts, arrived

    def ready(self) -> bool:
        """Whether `arrays` would return at once."""
        return self._arrived is None or self._arrived.query()

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the parameters as `common.policy.NumpyPolicy` takes them, w [in, out]; may wait."""
        return self._arrays(self._parts[0])

    def average(self) -> dict[str, NDArray[np.float32]]:
        """Return the average's, empty if there is none; may wait."""
        return self._arrays(self._parts[1]) if len(self._parts) > 1 else {}

    def _arrays(self, parts: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
        if self._arrived is not None:
            self._arrived.synchronize()
        return {name: part.numpy().T.copy(order="C") for name, part in parts.items()}
