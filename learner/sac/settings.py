"""Settings of Soft Actor-Critic; must not import torch."""

from typing import Literal

from pydantic import Field, model_validator

from graspfleet.common.settings.config import ALGORITHM, AlgorithmConfig


class SACConfig(AlgorithmConfig):
    """Soft Actor-Critic (Haarnoja et al. 2018), with any number of critics (REDQ, RLPD)."""

    algorithm: Literal["sac"] = Field("sac", description=ALGORITHM)
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
    precision: Literal["fp32", "bf16", "auto"] = Field(
        "fp32",
        description="Precision of matrix products; auto: bf16 where it is faster, else fp32.",
    )

    @model_validator(mode="after")
    def _subset_of_the_critics(self) -> "SACConfig":
        if self.critic_subset is not None and self.critic_subset > self.num_critics:
            raise ValueError(
                f"--critic-subset {self.critic_subset}: allowed: at most --num-critics {self.num_critics}"
            )
        return self

    @property
    def divergence_hint(self) -> str:
        """Flags that may be too large if training has diverged, with their values."""
        return f"--learning-rate {self.learning_rate:g} or --reward-scale {self.reward_scale:g}"
