"""Operations of the encoder between its matrix products, each one pass over memory, compiled by Numba.

In and out: arrays, the outputs in place. Must not know: networks, losses, torch.

B images of H x W x C are cut into patches of S x S, [B * ceil(H / S) * ceil(W / S), S * S * C].
"""

import numpy as np
from numpy.typing import NDArray

from graspfleet.learner.sac.numba.kernels import EPSILON, Floats, compiled


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


@compiled
def cut(images: Floats, side: int, patches: Floats) -> None:
    """Write images [B, H, W, C] as patches, with zeros outside of them."""
    _, height, width, channels = images.shape
    rows, columns = -(-height // side), -(-width // side)
    p = 0
    for b in range(images.shape[0]):
        for row in range(rows):
            for column in range(columns):
                k = 0
                for i in range(row * side, (row + 1) * side):
                    for j in range(column * side, (column + 1) * side):
                        if i < height and j < width:
                            for c in range(channels):
                                patches[p, k + c] = images[b, i, j, c]
                        else:
                            for c in range(channels):
                                patches[p, k + c] = np.float32(0)
                        k += channels
                p += 1


@compiled
def join(patches: Floats, side: int, images: Floats) -> None:
    """Write patches as images [B, H, W, C]: the reverse of `cut`."""
    _, height, width, channels = images.shape
    rows, columns = -(-height // side), -(-width // side)
    p = 0
    for b in range(images.shape[0]):
        for row in range(rows):
            for column in range(columns):
                k = 0
                for i in range(row * side, (row + 1) * side):
                    for j in range(column * side, (column + 1) * side):
                        if i < height and j < width:
                            for c in range(channels):
                                images[b, i, j, c] = patches[p, k + c]
                        k += channels
                p += 1


@compiled
def normalize_rows(
    joined: Floats, bias: Floats, scale: Floats, shift: Floats, normal: Floats, rstd: Floats
) -> None:
    """Add a bias and normalize each row (LayerNorm): joined <- scale * normal + shift.

    Args:
        joined: [B, L], changed.
        bias: [L].
        scale: [L].
        shift: [L].
        normal: [B, L], written: (joined + bias - mean) * rstd of each row.
        rstd: [B], written: 1 / sqrt(variance + epsilon) of each row.
    """
    size = np.float32(joined.shape[1])
    for b in range(joined.shape[0]):
        total = np.float32(0)
        for h in range(joined.shape[1]):
            normal[b, h] = joined[b, h] + bias[h]
            total += normal[b, h]
        mean, squares = total / size, np.float32(0)
        for h in range(joined.shape[1]):
            normal[b, h] -= mean
            squares += normal[b, h] * normal[b, h]
        factor = np.float32(1) / np.sqrt(squares / size + EPSILON)
        rstd[b] = factor
        for h in range(joined.shape[1]):
            normal[b, h] *= factor
            joined[b, h] = normal[b, h] * scale[h] + shift[h]


@compiled
def normalize_tanh_backward(
    d: Floats,
    latent: Floats,
    scale: Floats,
    normal: Floats,
    rstd: Floats,
    d_joined: Floats,
    d_bias: Floats,
    d_scale: Floats,
    d_shift: Floats,
) -> None:
    """Undo tanh and `normalize_rows` on a gradient.

    Args:
        d: [B, L], gradient of the latent vectors.
        latent: [B, L], tanh of what `normalize_rows` made.
        scale: [L].
        normal: [B, L], from `normalize_rows`.
        rstd: [B], from `normalize_rows`.
        d_joined: [B, L], written.
        d_bias: [L], written, as are the two others: the gradients of the parameters.
        d_scale: [L].
        d_shift: [L].
    """
    size = np.float32(d.shape[1])
    d_bias[:] = 0
    d_scale[:] = 0
    d_shift[:] = 0
    for b in range(d.shape[0]):
        total, along = np.float32(0), np.float32(0)
        for h in range(d.shape[1]):
            value = d[b, h] * (np.float32(1) - latent[b, h] * latent[b, h])
            d_shift[h] += value
            d_scale[h] += value * normal[b, h]
            value *= scale[h]
            d_joined[b, h] = value
            total += value
            along += value * normal[b, h]
        total /= size
        along /= size
        for h in range(d.shape[1]):
            value = (d_joined[b, h] - total - normal[b, h] * along) * rstd[b]
            d_joined[b, h] = value
            d_bias[h] += value
