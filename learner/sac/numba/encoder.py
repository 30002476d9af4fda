"""The encoder of images, forward and backward by hand; its layout is that of `learner.numerics.encoder`.

In: frames as bytes, and views of weights and gradients. Out: latent vectors, and gradients of the weights.
Must not know: losses, optimizers, replay.

`learner.numerics.encoder` says the same with autograd, which this pass is tested against. At 32 x 32 pixels
the products are a quarter of an update there; the rest are small operators and copies.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graspfleet.common.observations.encoder import LATENT, channels_last, patches
from graspfleet.common.observations.fields import ObsField, Pixels, image_shape
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.sac.numba import kernels
from graspfleet.learner.sac.numba.kernels import Floats, cut_pixels


class Layer:
    """One layer of patches for B images.

    Args:
        shape: (height, width, channels) of the inputs.
        weight: [patch size, outputs].
        bias: [outputs].
        d_weight: gradient of `weight`, overwritten by `backward`.
        d_bias: gradient of `bias`, likewise.
        num_rows: B.

    Attributes:
        shape: (height, width, channels) of the outputs.
        side: side of a patch.
        patches: [B * positions, patch size], the inputs as patches; to be filled before `forward`.
        outputs: [B * positions, outputs].
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        weight: Floats,
        bias: Floats,
        d_weight: Floats,
        d_bias: Floats,
        num_rows: int,
    ) -> None:
        height, width, channels = shape
        self._weight, self._bias, self._d_weight, self._d_bias = weight, bias[None], d_weight, d_bias[None]
        self.side = math.isqrt(len(weight) // channels)
        self.shape = (math.ceil(height / self.side), math.ceil(width / self.side), weight.shape[1])
        positions = num_rows * self.shape[0] * self.shape[1]
        self.patches = np.empty((positions, len(weight)), np.float32)
        self.outputs = np.empty((positions, weight.shape[1]), np.float32)
        self._d_patches = np.empty_like(self.patches)
        self._every = np.arange(positions)

    def forward(self) -> None:
        """Write the outputs: max(patches @ weight + bias, 0)."""
        np.matmul(self.patches, self._weight, out=self.outputs)
        kernels.activate(self.outputs[None], self._bias)

    def backward(self, d: Floats) -> None:
        """Write the gradients of the parameters for that of the outputs, which is changed."""
        kernels.activate_backward(d, self.outputs, self._every, self._d_bias)
        np.matmul(self.patches.T, d, out=self._d_weight)
        self._d = d

    def d_patches(self) -> Floats:
        """Return the gradient of the patches, after `backward`."""
        np.matmul(self._d, self._weight.T, out=self._d_patches)
        return self._d_patches


class EncoderPass:
    """Forward and backward through an encoder for B frames, in memory that is laid out once.

    Args:
        spec: gives the images.
        values: parameters by the names of `encoder_shapes`.
        gradients: their gradients, overwritten by `backward`.
        num_rows: B.

    Attributes:
        latent: [B, L], the latent vectors.
    """

    def __init__(
        self, spec: EnvSpec, values: Mapping[str, Tensor], gradients: Mapping[str, Tensor], num_rows: int
    ) -> None:
        own, d_own = ({name: each.numpy() for name, each in part.items()} for part in (values, gradients))
        ends = list(accumulate(image.size for image in spec.images))
        self._images = [
            (image, slice(end - image.size, end)) for image, end in zip(spec.images, ends, strict=True)
        ]
        self._layers = [
            _layers(index, image, own, d_own, num_rows) for index, image in enumerate(spec.images)
        ]
        self._own, self._d_own = [own[name] for name in LATENT], [d_own[name] for name in LATENT]
        num_features, latent_dim = own[LATENT[0]].shape
        self._features = np.empty((num_rows, num_features), np.float32)
        self._d_features = np.empty_like(self._features)
        self.latent = np.empty((num_rows, latent_dim), np.float32)
        self._normal, self._d_joined = np.empty_like(self.latent), np.empty_like(self.latent)
        self._rstd, self._every = np.empty(num_rows, np.float32), np.arange(num_rows)
        self._unmoved: NDArray[np.int64] = np.zeros((num_rows, 2), np.int64)

    def forward(self, pixels: Pixels, shifts: Sequence[Tensor] = ()) -> None:
        """Write the latent vectors of frames, and keep what the way back needs.

        Args:
            pixels: [B, frame_bytes].
            shifts: for each image, [B, 2] numbers of rows and columns to move it by; empty: none.
        """
        start = 0
        for index, ((image, place), layers) in enumerate(zip(self._images, self._layers, strict=True)):
            shift = shifts[index].numpy() if shifts else self._unmoved
            images = np.ascontiguousarray(
                channels_last(pixels[:, place].reshape(-1, *image.shape), image.shape)
            )
            lines = images.reshape(*images.shape[:2], -1)
            cut_pixels(lines, images.shape[3], shift, layers[0].side, layers[0].patches)
            layers[0].forward()
            for before, layer in pairwise(layers):
                cut = patches(before.outputs.reshape(-1, *before.shape), layer.side)
                layer.patches[:] = cut.reshape(layer.patches.shape)
                layer.forward()
            features = layers[-1].outputs.reshape(len(pixels), -1)
            self._features[:, start : start + features.shape[1]] = features
            start += features.shape[1]
        weight, bias, scale, offset = self._own
        np.matmul(self._features, weight, out=self.latent)
        parameters = bias[None], scale[None], offset[None]
        kept = self._normal[None], self._rstd[None]
        kernels.normalize(self.latent[None], *parameters, *kept, kernels.NO_FLOOR)
        np.tanh(self.latent, out=self.latent)

    def backward(self, d_latent: Floats) -> None:
        """Write the gradients of all parameters for that of the latent vectors, [B, L]."""
        (weight, _, scale, _), (d_weight, d_bias, d_scale, d_offset) = self._own, self._d_own
        np.multiply(d_latent, 1 - self.latent * self.latent, out=self._d_joined)
        kept = scale[None], self._normal, self._rstd
        gradients = d_bias[None], d_scale[None], d_offset[None]
        kernels.normalize_backward(
            self._d_joined, self.latent, self._every, *kept, *gradients, kernels.NO_FLOOR
        )
        np.matmul(self._features.T, self._d_joined, out=d_weight)
        np.matmul(self._d_joined, weight.T, out=self._d_features)
        start = 0
        for layers in self._layers:
            size = math.prod(layers[-1].shape)
            part = self._d_features[:, start : start + size]
            d: Floats = np.ascontiguousarray(part).reshape(layers[-1].outputs.shape)
            start += size
            for before, layer in zip(layers[-2::-1], layers[:0:-1], strict=True):
                layer.backward(d)
                d = joined(layer.d_patches(), layer.side, before.shape).reshape(before.outputs.shape)
            layers[0].backward(d)


def _layers(
    index: int, image: ObsField, own: Mapping[str, Floats], d_own: Mapping[str, Floats], num_rows: int
) -> list[Layer]:
    """Return the layers of an image."""
    layers: list[Layer] = []
    shape = image_shape(image.shape)
    while (name := f"image{index}.w{len(layers)}") in own:
        bias = f"image{index}.b{len(layers)}"
        layers.append(Layer(shape, own[name], own[bias], d_own[name], d_own[bias], num_rows))
        shape = layers[-1].shape
    return layers


def joined(cut: Floats, side: int, shape: tuple[int, int, int]) -> Floats:
    """Return patches [B * positions, side * side * C] as images [B, H, W, C]: the reverse of `patches`."""
    height, width, channels = shape
    rows, columns = math.ceil(height / side), math.ceil(width / side)
    images = cut.reshape(-1, rows, columns, side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    padded = images.reshape(-1, rows * side, columns * side, channels)
    return np.ascontiguousarray(padded[:, :height, :width])
