"""The encoder of images in NumPy, so that an actor's machine needs no torch.

In: frames, and the encoder's arrays (checked, because they come from a peer). Out: a latent vector for each
frame. Must not know: how the encoder is trained.

Each image is cut into patches; a layer multiplies each patch by a matrix and applies ReLU, and the next layer
does the same to patches of its outputs. That is a convolution whose stride equals its kernel, and costs a few
matrix products. One more layer joins all images: latent = tanh(LayerNorm(features @ w + b)).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.errors import ProtocolError
from graspfleet.common.observations.fields import Floats, Pixels, image_shape
from graspfleet.common.specs import EnvSpec

NORM_EPSILON = 1e-5
"""Added to the variance in LayerNorm."""
MAX_LAYERS, MAX_CHANNELS, MAX_PATCH = 8, 1024, 64
"""Largest numbers of layers of an image, of channels of a layer, and side of a patch."""
MAX_OUTPUTS = 1 << 23
"""Largest number of outputs of a layer for one image."""
LATENT = ("latent.w", "latent.b", "latent.scale", "latent.shift")
"""Arrays of the layer that joins the images: [features, L], [L], [L], [L]."""

Layer = tuple[int, int]
"""(channels, side of a patch)."""


def default_layers(shape: tuple[int, ...]) -> tuple[Layer, ...]:
    """Return the layers for an image: 4 x 4 patches, then halving until a side has at most 8 positions."""
    layers, side = [(32, 4), (64, 2)], math.ceil(max(image_shape(shape)[:2]) / 8)
    while side > 8:
        layers.append((64, 2))
        side = math.ceil(side / 2)
    return tuple(layers)


def encoder_outputs(spec: EnvSpec, layers: Sequence[Layer]) -> int:
    """Return the number of outputs of all layers for one frame; see `encoder_shapes`."""
    total = 0
    for image in spec.images:
        height, width, _ = image_shape(image.shape)
        for outputs, patch in layers or default_layers(image.shape):
            height, width = math.ceil(height / patch), math.ceil(width / patch)
            total += height * width * outputs
    return total


def encoder_shapes(spec: EnvSpec, layers: Sequence[Layer], latent_dim: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an encoder's arrays by name, in order.

    Args:
        spec: gives the images.
        layers: layers of every image; empty: `default_layers` of each.
        latent_dim: L, length of the latent vector.

    Raises:
        ValueError: a layer has more than `MAX_OUTPUTS` outputs for an image.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    features = 0
    for index, image in enumerate(spec.images):
        height, width, channels = image_shape(image.shape)
        for layer, (outputs, patch) in enumerate(layers or default_layers(image.shape)):
            shapes[f"image{index}.w{layer}"] = (patch * patch * channels, outputs)
            shapes[f"image{index}.b{layer}"] = (outputs,)
            height, width, channels = math.ceil(height / patch), math.ceil(width / patch), outputs
            if height * width * channels > MAX_OUTPUTS:
                raise ValueError(
                    f"layer {layer} has {height} x {width} x {channels} outputs, allowed {MAX_OUTPUTS}"
                )
        features += height * width * channels
    weight, *rest = LATENT
    return {**shapes, weight: (features, latent_dim), **{name: (latent_dim,) for name in rest}}


def read_layers(arrays: Mapping[str, Floats], spec: EnvSpec) -> tuple[Layer, ...]:
    """Return the layers that an encoder's arrays have, those of the first image.

    Raises:
        ProtocolError: they have no layers within the limits.
    """
    layers: list[Layer] = []
    channels = image_shape(spec.images[0].shape)[2]
    while (weight := arrays.get(f"image0.w{len(layers)}")) is not None:
        if weight.ndim != 2 or len(layers) >= MAX_LAYERS or weight.shape[1] > MAX_CHANNELS:
            raise ProtocolError("policy", f"image0.w{len(layers)} is {weight.shape}")
        patch = math.isqrt(weight.shape[0] // channels)
        if not 1 <= patch <= MAX_PATCH:
            raise ProtocolError("policy", f"image0.w{len(layers)} is {weight.shape}")
        channels = weight.shape[1]
        layers.append((channels, patch))
    return tuple(layers)


class ImageEncoder:
    """Encodes frames.

    Args:
        arrays: as in `encoder_shapes`, already checked against them; they are copied.
        spec: gives the images.
    """

    def __init__(self, arrays: Mapping[str, Floats], spec: EnvSpec) -> None:
        own = {name: np.array(array, order="C") for name, array in arrays.items()}
        self._places, self._layers, start = [], [], 0
        for index, image in enumerate(spec.images):
            self._places.append((slice(start, start + image.size), image.shape))
            start += image.size
            count = sum(name.startswith(f"image{index}.w") for name in own)
            self._layers.append(
                [(own[f"image{index}.w{i}"], own[f"image{index}.b{i}"]) for i in range(count)]
            )
        self._latent = [own[name] for name in LATENT]

    def encode(self, pixels: Pixels) -> Floats:
        """Return the latent vectors [K, L] of frames [K, frame_bytes]."""
        features = []
        for (place, shape), layers in zip(self._places, self._layers, strict=True):
            images: NDArray[Any] = channels_last(pixels[:, place].reshape(-1, *shape), shape)
            for layer, (weight, bias) in enumerate(layers):
                images = patches(images, math.isqrt(len(weight) // images.shape[3]))
                if layer == 0:
                    images = images / np.float32(255) - np.float32(0.5)
                images = images @ weight
                images += bias
                np.maximum(images, 0, out=images)
            features.append(images.reshape(len(images), -1))
        weight, bias, scale, shift = self._latent
        joined = (features[0] if len(features) == 1 else np.concatenate(features, axis=1)) @ weight + bias
        joined -= joined.mean(axis=1, keepdims=True)
        joined /= np.sqrt(np.square(joined).mean(axis=1, keepdims=True) + np.float32(NORM_EPSILON))
        latent: Floats = np.tanh(joined * scale + shift)
        return latent


def channels_last(images: Pixels, shape: tuple[int, ...]) -> Pixels:
    """Return images [K, *shape] as [K, H, W, C]; see `image_shape`."""
    if len(shape) == 2:
        return images[..., None]
    return images if image_shape(shape) == shape else images.transpose(0, 2, 3, 1)


def patches(images: NDArray[Any], side: int) -> NDArray[Any]:
    """Cut images [K, H, W, C] into patches [K, H / side, W / side, side * side * C], padded with zeros."""
    count, height, width, channels = images.shape
    if height % side or width % side:
        images = np.pad(images, ((0, 0), (0, -height % side), (0, -width % side), (0, 0)))
        height, width = images.shape[1:3]
    rows, columns = height // side, width // side
    cut = images.reshape(count, rows, side, columns, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(count, rows, columns, side * side * channels)
