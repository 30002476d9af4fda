"""Three layers with ReLU, forward and backward by hand, for several networks side by side.

In: views of weights and gradients. Out: outputs, and gradients of weights or inputs. Must not know: losses,
optimizers, what the outputs mean.

`learner.sac.networks` says the same with autograd, which these passes are tested against. By hand there is no
graph to build, everything between two matrix products is one pass over memory (`learner.sac.numba.kernels`),
and nothing superfluous is computed: gradients of inputs, or of rows that a loss does not depend on.

N networks side by side, B rows, H units of each hidden layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from graspfleet.learner.sac.numba import kernels
from graspfleet.learner.sac.numba.kernels import Floats
from graspfleet.learner.sac.numba.matmul import Products


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


class Pass:
    """Forward and backward through the layers for B rows, in memory that is laid out once.

    Args:
        net: the networks.
        num_rows: B.
        products: how the hidden layers multiply; the last one is always float32, on one thread.
        gradients: overwritten by `backward`; None for networks that are not trained.
        num_trained: how many rows, the first ones, `backward` is for; None for all.

    Attributes:
        x: [B, in], what the networks are given; to be filled before `forward`.
        output: [N, B, out].
    """

    def __init__(
        self,
        net: Layers,
        num_rows: int,
        products: Products,
        *,
        gradients: Layers | None = None,
        num_trained: int | None = None,
    ) -> None:
        self._net, self._products, self._gradients = net, products, gradients
        self._num_rows, self._num_trained = num_rows, num_rows if num_trained is None else num_trained
        num_networks, num_inputs, num_units = net.weight[0].shape
        rows = (num_networks, num_rows, num_units)
        self.x = np.empty((num_rows, num_inputs), np.float32)
        self._hidden = [np.empty(rows, np.float32) for _ in range(2)]
        self._normal = [np.empty(rows, np.float32) for _ in net.scale]
        self._rstd = [np.empty(rows[:2], np.float32) for _ in net.scale]
        self.output = np.empty((num_networks, num_rows, net.weight[2].shape[2]), np.float32)
        self._d = [np.empty((num_networks * self._num_trained, num_units), np.float32) for _ in range(2)]
        self._every = np.concatenate(
            [n * num_rows + np.arange(self._num_trained) for n in range(num_networks)]
        )
        # Apart from each other, or the kernels would go by single numbers.
        self._unwanted = Layers(
            [], *([part] * 2 for part in np.empty((3, num_networks, num_units), np.float32))
        )

    def forward(self) -> None:
        """Write the outputs for the inputs, and keep what the ways back need."""
        net, products, (first, second) = self._net, self._products, self._hidden
        operand, multiply = products.first
        multiply(operand(self.x[None]), operand(net.weight[0]), first)
        self._activate(0)
        self._middle = products.middle.operand(first), products.middle.operand(net.weight[1])
        products.middle.multiply(*self._middle, second)
        self._activate(1)
        np.matmul(second, net.weight[2], out=self.output)
        self.output += net.bias[2][:, None]

    def backward(self, d: Floats) -> None:
        """Write the gradients of all parameters for that of the outputs, [N, `num_trained`, out]."""
        net, wanted, trained = self._net, self._gradients, slice(self._num_trained)
        assert wanted is not None
        first, middle = self._products
        np.matmul(self._hidden[1][:, trained].swapaxes(1, 2), d, out=wanted.weight[2])
        np.add.reduce(d, axis=1, out=wanted.bias[2])
        d_first, d_second = (part.reshape(len(d), self._num_trained, -1) for part in self._d)
        for n, weight in enumerate(net.weight[2]):  # np.matmul has slow loops of its own where out is 1
            np.dot(d[n], weight.T, out=d_second[n])
        self._activate_backward(1, self._d[1], self._every, wanted)
        x, inner = self._middle
        operand = middle.operand(d_second)
        middle.multiply(x[:, trained].swapaxes(1, 2), operand, wanted.weight[1])
        middle.multiply(operand, inner.swapaxes(1, 2), d_first)
        self._activate_backward(0, self._d[0], self._every, wanted)
        x = self.x[None, trained].swapaxes(1, 2)
        first.multiply(first.operand(x), first.operand(d_first), wanted.weight[0])

    def input_gradient(self, columns: slice) -> Floats:
        """Return the gradient of some columns of the inputs, [`num_trained`, columns], after `backward`."""
        d_first = self._d[0].reshape(len(self._net.weight[0]), self._num_trained, -1)
        weight = self._net.weight[0][:, columns]
        gradient: Floats = d_first[0] @ weight[0].T
        for n in range(1, len(d_first)):
            gradient += d_first[n] @ weight[n].T
        return gradient

    def gradient_of_inputs(
        self, chosen: Sequence[NDArray[np.bool_]], columns: slice, *, per_row: int = 1
    ) -> Floats:
        """Return the gradient of the mean of the chosen outputs in some columns of the inputs, [B, columns].

        Args:
            chosen: [B] of each network, in each row true for as many of them; out is 1.
            columns: of the inputs.
            per_row: how many are chosen in each row.
        """
        net, multiply = self._net, self._products.middle.multiply
        gradient = np.zeros_like(self.x[:, columns])
        for n, of_this in enumerate(chosen):
            rows = np.flatnonzero(of_this)
            places = rows + n * self._num_rows
            d_first, d_second = (part[: len(rows)] for part in self._d)
            d_second[:] = net.weight[2][n, :, 0] / np.float32(self._num_rows * per_row)
            self._activate_backward(1, d_second, places, self._unwanted)
            operand, weight = self._products.middle.operand(d_second[None]), self._middle[1][n : n + 1]
            multiply(operand, weight.swapaxes(1, 2), d_first[None])
            self._activate_backward(0, d_first, places, self._unwanted)
            gradient[rows] += d_first @ net.weight[0][n, columns].T
        return gradient

    def _activate(self, i: int) -> None:
        """Turn the i-th product into the i-th hidden layer."""
        net, hidden = self._net, self._hidden[i]
        if net.scale:
            scaled = net.bias[i], net.scale[i], net.shift[i]
            kernels.normalize(hidden, *scaled, self._normal[i], self._rstd[i], kernels.RELU)
        else:
            kernels.activate(hidden, net.bias[i])

    def _activate_backward(self, i: int, d: Floats, places: NDArray[np.intp], gradients: Layers) -> None:
        """Turn gradients [P, H] after some rows of the i-th hidden layer into those before them."""
        net, hidden, wanted = self._net, _rows(self._hidden[i]), gradients
        if not net.scale:
            kernels.activate_backward(d, hidden, places, wanted.bias[i])
            return
        normal, rstd = _rows(self._normal[i]), self._rstd[i].reshape(-1)
        parameters = wanted.bias[i], wanted.scale[i], wanted.shift[i]
        kernels.normalize_backward(d, hidden, places, net.scale[i], normal, rstd, *parameters, kernels.RELU)


def _rows(stack: Floats) -> Floats:
    """Return [N, B, H] as [N B, H]."""
    return stack.reshape(-1, stack.shape[2])
