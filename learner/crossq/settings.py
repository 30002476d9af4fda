"""Settings of CrossQ; must not import torch."""

from typing import Literal

from pydantic import Field

from graspfleet.common.settings.config import ALGORITHM, AlgorithmConfig


class CrossQConfig(AlgorithmConfig):
    """CrossQ (Bhatt et al. 2024): batch-renormalized critics without targets; defaults are the paper's."""

    algorithm: Literal["crossq"] = Field("crossq", description=ALGORITHM)
    hidden_dim: int = Field(256, ge=1, le=8192, description="Units of each hidden layer of the policy.")
    critic_dim: int = Field(2048, ge=1, le=8192, description="Units of each hidden layer of the critics.")
    num_critics: int = Field(2, ge=1, le=64, description="Number of critics, initialized independently.")
    learning_rate: float = Field(1e-3, gt=0, description="Adam's step size for policy and critics.")
    temperature_learning_rate: float | None = Field(
        None, gt=0, description="Adam's step size for the temperature; default: --learning-rate."
    )
    policy_delay: int = Field(
        3, ge=1, description="Critic updates per update of the policy and the temperature."
    )
    renorm_warmup: int = Field(
        100_000, ge=0, description="Updates with plain batch normalization before renormalization starts."
    )
    initial_temperature: float = Field(1.0, gt=0, description="Initial entropy temperature, reward per nat.")
    target_entropy: float | None = Field(
        None, description="Target entropy, nats; default: minus the action dimension."
    )
    reward_scale: float = Field(1.0, gt=0, description="Factor on every reward inside the loss.")

    @property
    def divergence_hint(self) -> str:
        """Flags that may be too large if training has diverged, with their values."""
        return f"--learning-rate {self.learning_rate:g} or --reward-scale {self.reward_scale:g}"
