"""The encoder of images in torch, and random shifts; its layout is that of `common.image_encoder`.

In: frames as bytes. Out: latent vectors. Must not know: losses, optimizers, replay.
"""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from graspfleet.common.observations.encoder import LATENT, NORM_EPSILON, Layer, encoder_shapes
from graspfleet.common.observations.fields import ObsField, image_shape
from graspfleet.common.specs import EnvSpec


class Encoder(nn.Module):
    """Frames -> patches -> features -> latent vector; see `common.image_encoder.ImageEncoder`.

    Weights of patches are orthogonal at first (Saxe et al. 2014), as in DrQ-v2 (Yarats et al. 2021).

    Args:
        spec: gives the images.
        layers: layers of every image; empty: default ones.
        latent_dim: L, length of the latent vector.
        generator: source of the initial weights; its device becomes the network's.
    """

    def __init__(
        self, spec: EnvSpec, layers: Sequence[Layer], latent_dim: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self._images = spec.images
        self._ends = list(accumulate(image.size for image in spec.images))[:-1]
        self._parameters_by_name: dict[str, nn.Parameter] = {}
        for name, shape in encoder_shapes(spec, layers, latent_dim).items():
            values = torch.zeros(shape, device=generator.device)
            if len(shape) == 2:
                nn.init.orthogonal_(values, gain=2**0.5 if name != LATENT[0] else 1.0, generator=generator)
            elif name == LATENT[2]:
                values += 1
            self._parameters_by_name[name] = nn.Parameter(values)
            self.register_parameter(name.replace(".", "_"), self._parameters_by_name[name])

    def named(self) -> dict[str, nn.Parameter]:
        """Return the parameters by the names of `encoder_shapes`."""
        return self._parameters_by_name

    def forward(self, pixels: Tensor, shifts: Sequence[Tensor] = ()) -> Tensor:
        """Return latent vectors [B, L].

        Args:
            pixels: [B, frame_bytes] uint8.
            shifts: for each image, [B, 2] int64 numbers of rows and columns to move it by; empty: none.
        """
        features, own = [], self._parameters_by_name
        parts = torch.tensor_split(pixels, self._ends, dim=1)
        for index, (image, part) in enumerate(zip(self._images, parts, strict=True)):
            inputs = to_channels_last(part, image)
            if shifts:
                inputs = shifted(inputs, shifts[index])
            layer = 0
            while (weight := own.get(f"image{index}.w{layer}")) is not None:
                inputs = patches(inputs, weight.shape[0])
                if layer == 0:
                    inputs = inputs.float().div_(255).sub_(0.5)
                inputs = torch.matmul(inputs, weight).add(own[f"image{index}.b{layer}"]).relu()
                layer += 1
            features.append(inputs.flatten(1))
        weight, bias, scale, shift = (own[name] for name in LATENT)
        joined = torch.addmm(bias, torch.cat(features, dim=1), weight)
        return functional.layer_norm(joined, joined.shape[1:], scale, shift, NORM_EPSILON).tanh()


def to_channels_last(pixels: Tensor, image: ObsField) -> Tensor:
    """Return images [B, bytes] as a view [B, H, W, C]."""
    images: Tensor = pixels.reshape(-1, *image.shape)
    if len(image.shape) == 2:
        return images[..., None]
    return images if image_shape(image.shape) == image.shape else images.permute(0, 2, 3, 1)


def patches(images: Tensor, patch_size: int) -> Tensor:
    """Cut images [B, H, W, C] into patches [B, H / side, W / side, patch_size], padded with zeros.

    Args:
        images: the images.
        patch_size: side * side * C.
    """
    batch, height, width, channels = images.shape
    side = round((patch_size / channels) ** 0.5)
    if height % side or width % side:
        images = functional.pad(images, (0, 0, 0, -width % side, 0, -height % side))
        height, width = images.shape[1:3]
    cut = images.reshape(batch, height // side, side, width // side, side, channels)
    return cut.transpose(2, 3).reshape(batch, height // side, width // side, patch_size)


def shifted(images: Tensor, shift: Tensor) -> Tensor:
    """Return images [B, H, W, C] moved by [B, 2] pixels, with repeated borders.

    Source: Kostrikov et al. 2020, Image Augmentation Is All You Need (arXiv 2004.13649).
    """
    batch, height, width, _ = images.shape
    device = images.device
    rows = (torch.arange(height, device=device) + shift[:, :1]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=device) + shift[:, 1:]).clamp_(0, width - 1)
    return images[torch.arange(batch, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]
