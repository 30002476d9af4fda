"""The networks of CrossQ: affine layers with batch renormalization before each, for N networks in parallel.

In: batches [N, B, in] float32. Out: [N, B, out]. Must not know: losses, optimizers.

Source: Ioffe 2017, Batch Renormalization (arXiv 1702.03275), with the constants of CrossQ's own code.
"""

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graspfleet.learner.sac.networks import uniform

MOMENTUM, EPSILON = 0.99, 1e-3
R_MAX, D_MAX = 3.0, 5.0
"""Bounds of the correction from a batch's statistics to the running ones."""


class BatchRenorm(nn.Module):
    """y = scale * (x - mean) / sqrt(var + epsilon) + shift, with batch or running statistics.

    In training, mean and variance are the batch's, corrected toward the running ones after `warmup` batches:
    (x - mean) / std * r + d, r = std / running std in [1 / R_MAX, R_MAX], d = (mean - running mean) / running
    std in [-D_MAX, D_MAX]. No gradient flows through r and d.

    Args:
        shape: number of networks N, and number of features F.
        warmup: number of batches with plain batch normalization.
    """

    mean: Tensor
    var: Tensor
    batches: Tensor

    def __init__(self, shape: tuple[int, int], warmup: int) -> None:
        super().__init__()
        wide = (shape[0], 1, shape[1])
        self.scale, self.shift = nn.Parameter(torch.ones(wide)), nn.Parameter(torch.zeros(wide))
        self.register_buffer("mean", torch.zeros(wide))
        self.register_buffer("var", torch.ones(wide))
        self.register_buffer("batches", torch.zeros(()))
        self._warmup = warmup

    def forward(self, x: Tensor, *, train: bool) -> Tensor:
        """Return x [N, B, F] normalized; in training, also update the running statistics."""
        if not train:
            scale, shift = self.affine()
            return torch.addcmul(shift, x, scale)
        mean = x.mean(dim=1, keepdim=True)
        centered = x - mean
        var = centered.square().mean(dim=1, keepdim=True)  # torch.var_mean takes ten times as long on a CPU
        with torch.no_grad():
            running = (self.var + EPSILON).sqrt()
            warm = self.batches >= self._warmup
            r = torch.where(warm, ((var + EPSILON).sqrt() / running).clamp(1 / R_MAX, R_MAX), 1.0)
            d = torch.where(warm, ((mean - self.mean) / running).clamp(-D_MAX, D_MAX), 0.0)
            self.mean.lerp_(mean, 1 - MOMENTUM)
            self.var.lerp_(var, 1 - MOMENTUM)
            self.batches += 1
        factor = (
            (var + EPSILON).rsqrt() * r * self.scale
        )  # [N, 1, F], so that only one pass over the batch remains
        return torch.addcmul(self.shift + d * self.scale, centered, factor)

    def affine(self) -> tuple[Tensor, Tensor]:
        """Return the factor and the offset [N, 1, F] that are equivalent outside of training."""
        scale = self.scale * (self.var + EPSILON).rsqrt()
        return scale, self.shift - self.mean * scale


class RenormMLP(nn.Module):
    """N networks: batch renormalization and an affine layer, three times, with ReLU after the first two.

    Args:
        num_networks: N.
        sizes: sizes of the input, both hidden layers and the output.
        warmup: see `BatchRenorm`.
        generator: source of the initial weights.
    """

    def __init__(
        self, num_networks: int, sizes: tuple[int, int, int, int], warmup: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(BatchRenorm((num_networks, size), warmup) for size in sizes[:-1])
        self.norms.to(generator.device)
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            self.register_parameter(f"w{i}", uniform((num_networks, n_in, n_out), n_in, generator))
            self.register_parameter(f"b{i}", uniform((num_networks, 1, n_out), n_in, generator))

    def forward(self, x: Tensor, *, train: bool) -> Tensor:
        """Return the outputs [N, B, out] for inputs [B, in]."""
        hidden = x.expand(len(self.get_parameter("w0")), -1, -1)
        for i, norm in enumerate(self.norms):
            hidden = hidden.relu() if i else hidden
            affine = norm(hidden, train=train), self.get_parameter(f"w{i}")
            hidden = torch.baddbmm(self.get_parameter(f"b{i}"), *affine)
        return hidden

    @torch.no_grad()
    def folded(self) -> dict[str, NDArray[np.float32]]:
        """Return the first network, outside of training, as affine layers: w{i} [in, out], b{i} [out]."""
        arrays = {}
        for i, norm in enumerate(self.norms):
            assert isinstance(norm, BatchRenorm)
            (scale, shift), weight = norm.affine(), self.get_parameter(f"w{i}")
            arrays[f"w{i}"] = (weight[0] * scale[0].T).cpu().numpy()
            arrays[f"b{i}"] = (self.get_parameter(f"b{i}") + shift @ weight)[0, 0].cpu().numpy()
        return arrays
