"""Adam's step on one vector of parameters, by Numba.

In: a vector with its gradient, and its optimizer in torch. Out: the stepped values. Must not know: networks,
losses.
"""

from typing import NamedTuple

import torch

from graspfleet.learner.sac.flat_parameters import Flat
from graspfleet.learner.sac.numba import update_kernels
from graspfleet.learner.sac.numba.kernels import Floats


class Optimized(NamedTuple):
    """Views of all that one Adam step changes; a state that is loaded is copied into the same memory."""

    values: Floats
    gradient: Floats
    first: Floats
    second: Floats
    step: Floats
    learning_rate: float
    betas: tuple[float, float]
    epsilon: float

    @classmethod
    def of(cls, flat: Flat, optimizer: torch.optim.Adam) -> "Optimized":
        """Return the views of one vector and of its optimizer."""
        moments, group = optimizer.state[flat.vector], optimizer.param_groups[0]
        first, second, step = (moments[key].numpy() for key in ("exp_avg", "exp_avg_sq", "step"))
        vectors = flat.values.numpy(), flat.gradient.numpy(), first, second
        return cls(*vectors, step, group["lr"], group["betas"], group["eps"])

    def apply(self) -> None:
        """Take Adam's step with the gradient at hand."""
        self.step[...] += 1
        vectors = self.values, self.gradient, self.first, self.second
        update_kernels.adam(*vectors, float(self.step), self.learning_rate, self.betas, self.epsilon)
