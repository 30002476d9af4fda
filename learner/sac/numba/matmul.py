"""Matrix products: precision and library.

In: float32 arrays. Out: float32 arrays. Must not know: networks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graspfleet.learner.sac.numba.kernels import Floats


class Product(NamedTuple):
    """One way to multiply.

    Attributes:
        operand: makes of an array [N, B, K] what `multiply` takes; slices and swapped axes of it will do,
            and it may be used several times.
        multiply: writes the product of two operands, [N, B, K] and [N, K, M], to an array [N, B, M].
    """

    operand: Callable[[Floats], Any]
    multiply: Callable[[Any, Any, Floats], object]


def _bfloat16(array: Floats) -> Tensor:
    return torch.from_numpy(array).bfloat16()


def _multiply_bfloat16(a: Tensor, b: Tensor, out: Floats) -> None:
    if not out.flags.c_contiguous:  # then its transpose is, and nothing is transposed while copying
        a, b, out = b.swapaxes(1, 2), a.swapaxes(1, 2), out.swapaxes(1, 2)
    torch.from_numpy(out).copy_(torch.bmm(a, b))


def _multiply_torch(a: Tensor, b: Tensor, out: Floats) -> None:
    torch.matmul(a, b, out=torch.from_numpy(out))


FP32 = Product(np.asarray, np.matmul)
"""In float32 on one core, where NumPy's library is the fastest by a little."""
FP32_THREADED = Product(torch.from_numpy, _multiply_torch)
"""In float32 on torch's threads; two libraries' threads would wait for each other."""
BF16 = Product(_bfloat16, _multiply_bfloat16)
"""Of bfloat16 copies, summed in float32: twice as fast on a CPU that can."""


class Products(NamedTuple):
    """Products of the hidden layers: the first, and the middle one, which is most of the work."""

    first: Product = FP32
    middle: Product = FP32
