"""The vector that a policy is published as: its parameters, and those of its encoder if there are images.

In: flat parameters. Out: one vector, and the arrays in it. Must not know: losses, optimizers, frames.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from graspfleet.learner.publishing.policy_snapshot import Arrival, PolicySnapshot
from graspfleet.learner.sac.flat_parameters import Flat


def published_vector(flat: Mapping[str, Flat]) -> Tensor:
    """Return the parameters of "policy" and, if there is one, of "encoder", as one vector."""
    policy = flat["policy"].values
    return torch.cat((policy, flat["encoder"].values)) if "encoder" in flat else policy


def published_vectors(flat: Mapping[str, Flat], ema: Tensor, ema_tau: float) -> Tensor:
    """Return the newest vector [1, N] or, with averaging, the newest and its average [2, N]."""
    newest = published_vector(flat)
    return newest[None] if ema_tau == 1 else torch.stack((newest, ema))


def snapshot(flat: Mapping[str, Flat], vectors: Tensor, arrival: Arrival | None = None) -> PolicySnapshot:
    """Return the policy in published vectors.

    Args:
        flat: gives names and shapes.
        vectors: copy on the host of the newest vector [1, N], or of the newest and its average [2, N].
        arrival: end of the copy.
    """
    parts = [_arrays(flat, vector) for vector in vectors]
    return PolicySnapshot(parts[0], parts[1] if len(parts) > 1 else None, arrival)


def _arrays(flat: Mapping[str, Flat], vector: Tensor) -> dict[str, NDArray[np.float32]]:
    """Return the arrays in a published vector; weights of the policy are transposed."""
    size = len(flat["policy"].values)
    arrays = {name: part.numpy().T for name, part in flat["policy"].views(vector[:size]).items()}
    if "encoder" in flat:
        encoder = flat["encoder"].views(vector[size:])
        arrays |= {name: part.numpy() for name, part in encoder.items()}
    return arrays
