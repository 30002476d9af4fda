"""Random numbers of torch: shifts of images, and restoring a generator's state.

In: generators. Out: tensors on their device. Must not know: networks, batches.
"""

import logging

import torch
from torch import Tensor

log = logging.getLogger(__name__)


def random_shifts(generator: torch.Generator, most: int, count: int, num_images: int) -> list[Tensor]:
    """Return numbers of rows and columns [count, 2], up to `most` either way, for each image; none for 0."""
    size, device = (count, 2), generator.device
    images = range(num_images if most else 0)
    return [torch.randint(-most, most + 1, size, generator=generator, device=device) for _ in images]


def restore(generator: torch.Generator, state: Tensor) -> None:
    """Restore a generator's state, if it comes from the same kind of device; log it otherwise."""
    random = state.cpu()
    if random.shape == generator.get_state().shape:
        generator.set_state(random)
    else:  # generator states of CPU and GPU have different sizes
        log.warning("the checkpoint comes from another kind of device: the random numbers start anew")
