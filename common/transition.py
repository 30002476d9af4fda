"""One transition, and its packed form.

In: arrays and numbers. Out: the bytes of an `EnvSpec.record` up to its references to frames.
"""

import struct
from dataclasses import dataclass
from typing import Any

from graspfleet.common.observations.fields import Floats, Observation

RECORD_END = struct.Struct("<ff???x")
"""The fields of a record after its arrays: reward, discount, three flags, padding."""
REFERENCES = struct.Struct("<QQ")
"""The last fields of a record of an environment with images: frame, next frame."""


@dataclass(slots=True)
class Transition:
    """One n-step transition of one environment.

    Attributes:
        obs: the observation.
        next_obs: the observation n steps later.
        action: [action_dim] float32 in [-1, 1].
        reward: discounted sum over the n steps.
        discount: factor of the bootstrap at `next_obs`: discount**n, with n shorter at an episode's end.
        terminated: whether `next_obs` is terminal.
        truncated: whether the episode was truncated there.
        relabeled: whether its goal is another one than that of the episode; it is then no env step.
    """

    obs: Observation
    next_obs: Observation
    action: Floats
    reward: float
    discount: float
    terminated: bool
    truncated: bool
    relabeled: bool = False

    def pack(self, size_bytes: int) -> bytes:
        """Return the numbers of an `EnvSpec.record` as bytes, several times as fast as NumPy does.

        Args:
            size_bytes: their size.

        Raises:
            ValueError: the arrays have another size, hence another shape or dtype.
        """
        end = RECORD_END.pack(self.reward, self.discount, self.terminated, self.truncated, self.relabeled)
        parts: Any = self.obs[0], self.next_obs[0], self.action, end  # an index is faster than a name
        try:
            row = b"".join(parts)
        except TypeError:  # an array is not contiguous
            row = b"".join((*(array.tobytes() for array in parts[:3]), end))
        if len(row) != size_bytes:
            raise ValueError(f"a transition of {len(row)} bytes, allowed {size_bytes}")
        return row
