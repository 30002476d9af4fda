"""Three layers with ReLU, forward and backward by hand, for several networks side by side.

In: views of weights and gradients. Out: outputs, and gradients of weights or inputs. Must not know: losses,
optimizers, what the outputs mean.

`learner.networks` says the same with autograd, which these passes are tested against. By hand there is no
graph to build, what lies between two matrix products is one pass over memory (`learner.kernels`), and what
is not needed is not computed: gradients of inputs, or of rows that a loss does not depend on.

N networks side by side, B rows, H units of each hidden layer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from learner import kernels
from learner.kernels import Floats

Product = Callable[[Floats, Floats, Floats], object]
"""Writes the products of two stacks of matrices to a third: [N, B, K] @ [N, K, M] -> [N, B, M]."""


def product_fp32(a: Floats, b: Floats, out: Floats) -> None:
    """Multiply in float32."""
    np.matmul(a, b, out=out)


def product_bf16(a: Floats, b: Floats, out: Floats) -> None:
    """Multiply bfloat16 copies, summing in float32: twice as fast on a CPU that can."""
    halves = (torch.from_numpy(matrix).bfloat16() for matrix in (a, b))
    torch.from_numpy(out).copy_(torch.bmm(*halves))


@dataclass
class Layers:
    """Views of parameters, or of their gradients.

    Attributes:
        weight: [N, in, H], [N, H, H], [N, H, out], of any strides.
        bias: [N, H], [N, H], [N, out].
        scale: LayerNorm's factors, [N, H] of both hidden layers; empty without LayerNorm.
        shift: LayerNorm's terms, likewise.
    """

    weight: list[Floats]
    bias: list[Floats]
    scale: list[Floats] = field(default_factory=list)
    shift: list[Floats] = field(default_factory=list)

    def network(self, n: int) -> "Layers":
        """Return one of the networks alone."""
        parts = (self.weight, self.bias, self.scale, self.shift)
        return Layers(*([array[n : n + 1] for array in part] for part in parts))


@dataclass
class Tape:
    """What a backward pass needs of a forward pass.

    Attributes:
        inputs: of each layer: [N, B, in] (or [1, B, in]), [N, B, H], [N, B, H].
        normal: what LayerNorm made of both hidden layers, [N, B, H] before scale and shift.
        rstd: [N, B], 1 / standard deviation of each row.
    """

    inputs: list[Floats]
    normal: list[Floats] = field(default_factory=list)
    rstd: list[Floats] = field(default_factory=list)

    def hidden_rows(self, n: int, rows: slice | NDArray[np.intp]) -> "Tape":
        """Return some rows of one network, without those of its input: enough for gradients of inputs."""
        hidden, normal, rstd = (
            [array[n : n + 1, rows] for array in part] for part in (self.inputs[1:], self.normal, self.rstd)
        )
        return Tape([self.inputs[0], *hidden], normal, rstd)


def forward(net: Layers, x: Floats, product: Product) -> tuple[Floats, Tape]:
    """Return the outputs [N, B, out] for inputs [N, B, in] (or the same [1, B, in]), and the tape.

    Args:
        net: the networks.
        x: inputs.
        product: of the middle layer, which is most of the work; the others are always float32.
    """
    tape = Tape([x])
    for i, multiply in enumerate((product_fp32, product)):
        weight = net.weight[i]
        hidden = np.empty((len(weight), x.shape[1], weight.shape[2]), np.float32)
        multiply(x, weight, hidden)
        if net.scale:
            normal, rstd = np.empty_like(hidden), np.empty(hidden.shape[:2], np.float32)
            kernels.normalise(hidden, net.bias[i], net.scale[i], net.shift[i], normal, rstd)
            tape.normal.append(normal)
            tape.rstd.append(rstd)
        else:
            kernels.activate(hidden, net.bias[i])
        tape.inputs.append(hidden)
        x = hidden
    output = np.matmul(x, net.weight[2])
    output += net.bias[2][:, None]
    return output, tape


def backward(
    net: Layers,
    tape: Tape,
    d: Floats,
    product: Product,
    *,
    gradients: Layers | None = None,
    inputs: slice | None = None,
) -> Floats | None:
    """Carry a gradient back to weights, to inputs, or to both.

    Args:
        net: the networks of the forward pass.
        tape: of the forward pass.
        d: [N, B, out], gradient of the outputs.
        product: as for `forward`.
        gradients: overwritten; None computes none of them.
        inputs: columns of the input whose gradient is wanted.

    Returns:
        Gradient of those columns, [N, B, n], or None without any.
    """
    if gradients is not None:
        np.matmul(tape.inputs[2].swapaxes(1, 2), d, out=gradients.weight[2])
        np.sum(d, axis=1, out=gradients.bias[2])
    d = np.matmul(d, net.weight[2].swapaxes(1, 2))
    for i, multiply in ((1, product), (0, product_fp32)):
        _unactivate(net, tape, d, gradients, i)
        if gradients is not None:
            multiply(tape.inputs[i].swapaxes(1, 2), d, gradients.weight[i])
        if i == 1:
            before = np.empty((*d.shape[:2], net.weight[1].shape[1]), np.float32)
            multiply(d, net.weight[1].swapaxes(1, 2), before)
            d = before
    return None if inputs is None else np.matmul(d, net.weight[0][:, inputs].swapaxes(1, 2))


def _unactivate(net: Layers, tape: Tape, d: Floats, gradients: Layers | None, i: int) -> None:
    """Turn the gradient after the i-th hidden layer into that before its bias."""
    hidden = tape.inputs[i + 1]
    unwanted = np.empty((3, len(d), d.shape[2]), np.float32)
    d_bias = unwanted[0] if gradients is None else gradients.bias[i]
    if not net.scale:
        kernels.unactivate(d, hidden, d_bias)
        return
    d_scale, d_shift = unwanted[1:] if gradients is None else (gradients.scale[i], gradients.shift[i])
    kernels.unnormalise(d, hidden, net.scale[i], tape.normal[i], tape.rstd[i], d_bias, d_scale, d_shift)
