"""Settings of Soft Actor-Critic; must not import torch."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from graspfleet.common.observations.encoder import MAX_CHANNELS, MAX_LAYERS, MAX_PATCH, Layer
from graspfleet.common.settings.config import AlgorithmConfig

ENCODER_LAYER = re.compile(r"([1-9][0-9]{0,3})x([1-9][0-9]?)")
"""CHANNELSxPATCH."""


class SACConfig(AlgorithmConfig):
    """Soft Actor-Critic (Haarnoja et al. 2018), with any number of critics (REDQ, RLPD)."""

    hidden_dim: int = Field(256, ge=1, le=8192, description="Units of each of the two hidden layers.")
    num_critics: int = Field(2, ge=1, le=64, description="Number of critics, initialized independently.")
    critic_subset: int | None = Field(
        None,
        ge=1,
        description="Number of critics drawn for each update, whose minimum is the target (REDQ); the policy"
        " then uses the mean of all critics. Default: the minimum of all critics for both.",
    )
    learning_rate: float = Field(3e-4, gt=0, description="Adam's step size for policy and critics.")
    temperature_learning_rate: float | None = Field(
        None, gt=0, description="Adam's step size for the temperature; default: --learning-rate."
    )
    tau: float = Field(0.005, gt=0, le=1, description="Polyak coefficient of the target critics, per update.")
    ema_tau: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Polyak coefficient per update of the averaged policy for evaluations; 1: no averaging.",
    )
    initial_temperature: float = Field(1.0, gt=0, description="Initial entropy temperature, reward per nat.")
    auto_entropy: bool = Field(True, description="Tune the temperature toward --target-entropy.")
    target_entropy: float | None = Field(
        None, description="Target entropy, nats; default: minus the action dimension."
    )
    reward_scale: float = Field(1.0, gt=0, description="Factor on every reward inside the loss.")
    critic_layer_norm: bool = Field(False, description="LayerNorm after each hidden layer of the critics.")
    encoder_layers: tuple[str, ...] = Field(
        (),
        description="Layers of the encoder of images, each CHANNELSxPATCH: 32x4 makes 32 channels of each"
        " 4 x 4 patch. Default: 32x4 64x2, and 64x2 again until a side has at most 8 positions.",
    )
    latent_dim: int = Field(64, ge=1, le=4096, description="Length of the vector that images are encoded to.")
    random_shift: int = Field(
        1, ge=0, le=64, description="Pixels by which images are moved at random in each update (DrQ)."
    )
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32",
        description="Precision of matrix products; auto: bf16 where it is faster, else fp32.",
    )

    @field_validator("encoder_layers")
    @classmethod
    def _are_layers(cls, layers: tuple[str, ...]) -> tuple[str, ...]:
        sizes = [ENCODER_LAYER.fullmatch(layer) for layer in layers]
        found = [size and tuple(map(int, size.groups())) for size in sizes]
        if len(layers) > MAX_LAYERS or not all(
            size and size[0] <= MAX_CHANNELS and size[1] <= MAX_PATCH for size in found
        ):
            limits = f"up to {MAX_LAYERS} of CHANNELSxPATCH, {MAX_CHANNELS}x{MAX_PATCH} at most, such as 32x4"
            raise ValueError(f"allowed: {limits}")
        return layers

    @model_validator(mode="after")
    def _subset_of_the_critics(self) -> "SACConfig":
        if self.critic_subset is not None and self.critic_subset > self.num_critics:
            raise ValueError(
                f"--critic-subset {self.critic_subset}: allowed: at most --num-critics {self.num_critics}"
            )
        return self

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers of the encoder of images; empty for default ones."""
        sizes = (layer.split("x") for layer in self.encoder_layers)
        return tuple((int(channels), int(patch)) for channels, patch in sizes)

    @property
    def sizes(self) -> list[str]:
        """Flags that determine the form of the algorithm's state, with their values."""
        layers = " ".join(self.encoder_layers) or "(default)"
        norm = "--critic-layer-norm" if self.critic_layer_norm else "--no-critic-layer-norm"
        numbers = {
            "hidden-dim": self.hidden_dim,
            "num-critics": self.num_critics,
            "latent-dim": self.latent_dim,
        }
        return [norm, f"--encoder-layers {layers}", *(f"--{name} {value}" for name, value in numbers.items())]

    @property
    def divergence_hint(self) -> str:
        """Flags that may be too large if training has diverged, with their values."""
        return f"--learning-rate {self.learning_rate:g} or --reward-scale {self.reward_scale:g}"
