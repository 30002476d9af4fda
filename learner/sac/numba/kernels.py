"""Operations between the matrix products of a layer, each one pass over memory, compiled by Numba.

In and out: float32 arrays, most of them changed in place. Must not know: networks, losses, torch.

N is the number of networks side by side, B the rows of a batch, H a layer's units.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Places = NDArray[np.intp]

EPSILON = np.float32(1e-5)
"""Of LayerNorm, torch's default."""

RELU, NO_FLOOR = np.float32(0), np.float32(-np.inf)
"""Floors of `normalize`: with ReLU after LayerNorm, and without it."""

Kernel = TypeVar("Kernel", bound=Callable[..., None])


def compiled(function: Kernel) -> Kernel:
    """Compile a function to machine code at its first call, and keep that on disk.

    Sums may be reordered, else they could not be vectorized; NaN and infinity are respected.
    """
    relaxed = {"reassoc", "contract", "arcp", "nsz"}
    try:
        return cast(Kernel, njit(cache=True, fastmath=relaxed, error_model="numpy")(function))
    except RuntimeError:  # no writable folder: each process compiles for itself
        return cast(Kernel, njit(fastmath=relaxed, error_model="numpy")(function))


@compiled
def activate(hidden: Floats, bias: Floats) -> None:
    """Add a bias and cut at zero: hidden [N, B, H] <- max(hidden + bias, 0), bias [N, H]."""
    for n in range(hidden.shape[0]):
        for b in range(hidden.shape[1]):
            for h in range(hidden.shape[2]):
                hidden[n, b, h] = max(hidden[n, b, h] + bias[n, h], np.float32(0))


@compiled
def normalize(
    hidden: Floats,
    bias: Floats,
    scale: Floats,
    shift: Floats,
    normal: Floats,
    rstd: Floats,
    floor: np.float32,
) -> None:
    """The same with LayerNorm in between: hidden <- max(scale * normal + shift, floor).

    Args:
        hidden: [N, B, H], changed.
        bias: [N, H].
        scale: [N, H].
        shift: [N, H].
        normal: [N, B, H], written: (hidden + bias - mean) * rstd of each row.
        rstd: [N, B], written: 1 / sqrt(variance + epsilon) of each row.
        floor: `RELU` or `NO_FLOOR`.
    """
    size = np.float32(hidden.shape[2])
    for n in range(hidden.shape[0]):
        for b in range(hidden.shape[1]):
            # Mean and variance in one pass, of the differences to one of the values: those of a row are at
            # most sqrt(H) standard deviations away from it, so little cancels however large the values are.
            pivot = hidden[n, b, 0] + bias[n, 0]
            total, squares = np.float32(0), np.float32(0)
            for h in range(hidden.shape[2]):
                value = hidden[n, b, h] + bias[n, h] - pivot
                normal[n, b, h] = value
                total += value
                squares += value * value
            mean = total / size
            factor = np.float32(1) / np.sqrt(squares / size - mean * mean + EPSILON)
            rstd[n, b] = factor
            for h in range(hidden.shape[2]):
                value = (normal[n, b, h] - mean) * factor
                normal[n, b, h] = value
                hidden[n, b, h] = max(value * scale[n, h] + shift[n, h], floor)


@compiled
def activate_backward(d: Floats, hidden: Floats, places: Places, d_bias: Floats) -> None:
    """Undo `activate` on the gradients of some rows: d <- d where hidden > 0, else 0.

    Args:
        d: [P, H], changed.
        hidden: [N B, H], as made by `activate`.
        places: [P], which of its rows each row of d belongs to.
        d_bias: [N, H], written: the sums of d over each network's rows.
    """
    d_bias[:] = 0
    num_rows = len(hidden) // len(d_bias)
    for p in range(len(d)):
        place = places[p]
        n = place // num_rows
        for h in range(d.shape[1]):
            value = d[p, h] if hidden[place, h] > 0 else np.float32(0)
            d[p, h] = value
            d_bias[n, h] += value


@compiled
def normalize_backward(
    d: Floats,
    hidden: Floats,
    places: Places,
    scale: Floats,
    normal: Floats,
    rstd: Floats,
    d_bias: Floats,
    d_scale: Floats,
    d_shift: Floats,
    floor: np.float32,
) -> None:
    """Undo `normalize` on the gradients of some rows.

    Args:
        d: [P, H], changed.
        hidden: [N B, H], as made by `normalize`.
        places: [P], which of its rows each row of d belongs to.
        scale: [N, H].
        normal: [N B, H], from `normalize`.
        rstd: [N B], from `normalize`.
        d_bias: [N, H], written, as are the two others: the gradients of the parameters.
        d_scale: [N, H].
        d_shift: [N, H].
        floor: as given to `normalize`.
    """
    size, num_rows = np.float32(d.shape[1]), len(hidden) // len(scale)
    d_bias[:] = 0
    d_scale[:] = 0
    d_shift[:] = 0
    for p in range(len(d)):
        place = places[p]
        n = place // num_rows
        total, along = np.float32(0), np.float32(0)
        for h in range(d.shape[1]):
            value = d[p, h] if hidden[place, h] > floor else np.float32(0)
            d_shift[n, h] += value
            d_scale[n, h] += value * normal[place, h]
            value *= scale[n, h]
            d[p, h] = value
            total += value
            along += value * normal[place, h]
        total /= size
        along /= size
        for h in range(d.shape[1]):
            value = (d[p, h] - total - normal[place, h] * along) * rstd[place]
            d[p, h] = value
            d_bias[n, h] += value


@compiled
def cut_pixels(
    images: NDArray[np.uint8], channels: int, shifts: NDArray[np.int64], side: int, patches: Floats
) -> None:
    """Write moved images as patches of numbers in [-0.5, 0.5].

    Args:
        images: [B, H, W * C] bytes.
        channels: C.
        shifts: [B, 2] rows and columns to move each by, with repeated borders.
        side: S.
        patches: written; -0.5 outside of the images.
    """
    num_images, height, width = images.shape
    width //= channels
    rows, columns, length = -(-height // side), -(-width // side), side * channels
    for b in range(num_images):
        down, right = shifts[b, 0], shifts[b, 1]
        for row in range(rows):
            for column in range(columns):
                p = (b * rows + row) * columns + column
                start = column * side + right
                for i in range(side):
                    line = patches[p, i * length : (i + 1) * length]
                    if row * side + i >= height:
                        line[:] = np.float32(-0.5)
                        continue
                    pixels = images[b, min(max(row * side + i + down, 0), height - 1)]
                    if start >= 0 and start + side <= width and (column + 1) * side <= width:
                        own = pixels[start * channels : start * channels + length]
                        for k in range(length):
                            line[k] = np.float32(own[k]) * np.float32(1 / 255) - np.float32(0.5)
                        continue
                    for j in range(side):
                        x = min(max(start + j, 0), width - 1)
                        inside = column * side + j < width
                        for c in range(channels):
                            value = np.float32(pixels[x * channels + c]) if inside else np.float32(0)
                            line[j * channels + c] = value * np.float32(1 / 255) - np.float32(0.5)
