"""The device that updates run on."""

import torch

from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.processes import LearnerConfig


def on_gpu(config: LearnerConfig) -> bool:
    """Return whether updates run on a GPU.

    Raises:
        ConfigError: `--device cuda` was given and there is no GPU.
    """
    found = config.device != "cpu" and torch.cuda.is_available()
    if config.device == "cuda" and not found:
        raise ConfigError("--device cuda: torch finds no CUDA device here; allowed: auto, cpu")
    return found
