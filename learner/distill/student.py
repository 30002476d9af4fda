"""The student: a policy without the privileged fields that imitates a teacher.

In: observations, and the teacher's Gaussians. Out: the policy for actors. Must not know: rewards, critics,
who teaches.
"""

from collections.abc import Mapping
from typing import Any, SupportsFloat

import torch
from torch import Tensor
from torch.nn import functional

from graspfleet.common.specs import EnvSpec
from graspfleet.learner.distill.settings import DistillConfig
from graspfleet.learner.numerics.encoder import Encoder
from graspfleet.learner.numerics.generators import random_shifts, restore
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot
from graspfleet.learner.sac.flat_parameters import Flat, adam, load_adam, step_down
from graspfleet.learner.sac.networks import Policy
from graspfleet.learner.sac.published import published_vector, published_vectors, snapshot

Taught = tuple[Tensor, Tensor]
"""A teacher's Gaussians: mean and log_std [B, A], before tanh."""

STD_WEIGHT = 0.1
"""Weight of the standard deviations in the loss; they matter for exploration alone."""
LOG_STD_FLOOR = -5.0
"""Smallest log standard deviation that a student imitates: noise of 0.7 % is as good as none."""
DOMAIN = 0x5D
"""Separates the student's random numbers from the teacher's."""


def imitation_loss(mean: Tensor, log_std: Tensor, taught_mean: Tensor, taught_log_std: Tensor) -> Tensor:
    """Return how far a student's Gaussians are from a teacher's.

    J = mean_B sum_j [H(p_t, p_s) + 0.1 (log_std_s - log_std_t)^2],  p = (1 + tanh(mean)) / 2

    The cross-entropy H of the mean actions, mapped to [0, 1], has the gradient tanh(mean_s) - tanh(mean_t):
    unlike that of a squared error in the actions it does not vanish where tanh saturates, and unlike that of
    one before tanh it does not grow where actions no longer differ.

    Args:
        mean: [B, A] the student's, before tanh.
        log_std: [B, A] the student's.
        taught_mean: [B, A] the teacher's, before tanh.
        taught_log_std: [B, A] the teacher's.
    """
    share = (1 + taught_mean.tanh()) / 2
    entropy = functional.binary_cross_entropy_with_logits(2 * mean, share, reduction="none")
    spread = (log_std - taught_log_std.clamp_min(LOG_STD_FLOOR)).square()
    return (entropy + STD_WEIGHT * spread).sum(dim=1).mean()


class Student:
    """A policy and its encoder, with their optimizer.

    Args:
        spec: shapes and dtypes of a transition.
        settings: widths, layers and step size.
        seed: of the initial weights and the random shifts.
        device: torch device of all tensors.

    Attributes:
        spec: shapes and dtypes of a transition.
        policy: the policy.
        encoder: encoder of the images; None without images.
        flat: parameters of "policy" and, with images, "encoder": one vector each.
        optimizers: Adam optimizers by the same names.
    """

    def __init__(self, spec: EnvSpec, settings: DistillConfig, *, seed: int, device: str = "cpu") -> None:
        self.spec, self._settings, self.device = spec, settings, device
        self._generator = torch.Generator(device).manual_seed(seed ^ DOMAIN)
        latent_dim = settings.latent_dim if spec.images else 0
        sizes = (spec.policy_dim + latent_dim, spec.action_dim, settings.hidden_dim)
        self.policy = Policy(*sizes, self._generator)
        self.encoder: Encoder | None = None
        self.flat = {"policy": Flat(dict(self.policy.named_parameters()))}
        if spec.images:
            self.encoder = Encoder(spec, settings.layers, latent_dim, self._generator)
            self.flat["encoder"] = Flat(self.encoder.named())
        self._ema = published_vector(self.flat).clone()
        self.optimizers = {
            name: adam(flat, settings.student_learning_rate) for name, flat in self.flat.items()
        }

    def update(self, obs: Tensor, pixels: Tensor | None, taught: Taught) -> Mapping[str, SupportsFloat]:
        """Take one Adam step toward the teacher.

        Args:
            obs: [B, obs_dim] float32; the privileged numbers, its last ones, are not used.
            pixels: [B, frame_bytes] uint8; None without images.
            taught: the teacher's Gaussians at these observations.

        Returns:
            Detached scalars, as in `learner.distill.METRICS`.
        """
        inputs = obs[:, : self.spec.policy_dim]
        if self.encoder is not None and pixels is not None:
            inputs = torch.cat((inputs, self.encoder(pixels, self.shifts(len(pixels)))), dim=1)
        mean, log_std = self.policy(inputs)
        loss = imitation_loss(mean, log_std, *taught)
        step_down(loss, list(self.flat.values()), list(self.optimizers.values()))
        self.average()
        with torch.no_grad():
            error = (mean.tanh() - taught[0].tanh()).square().mean().sqrt()
        return {"imitation_loss": loss.detach(), "imitation_error": error}

    def average(self) -> None:
        """Move the policy's average toward the newest one; see `SAC`."""
        if self._settings.ema_tau < 1:
            self._ema.lerp_(published_vector(self.flat), self._settings.ema_tau)

    def shifts(self, count: int) -> list[Tensor]:
        """Return the random shifts of a batch of frames; see `random_shifts`."""
        return random_shifts(self._generator, self._settings.random_shift, count, len(self.spec.images))

    def snapshot(self) -> PolicySnapshot:
        """Return a copy of the policy after the updates so far."""
        vectors = published_vectors(self.flat, self._ema, self._settings.ema_tau)
        return snapshot(self.flat, vectors.to("cpu", copy=True))

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an update depends on; later updates change the returned tensors."""
        return {
            "flat": {name: flat.values for name, flat in self.flat.items()},
            "ema": self._ema,
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy the values of `state_dict()` into the existing tensors.

        Raises:
            KeyError, RuntimeError, ValueError: the state does not fit the networks.
        """
        with torch.no_grad():
            self._ema.copy_(state["ema"])
            for name, flat in self.flat.items():
                flat.values.copy_(state["flat"][name])
                load_adam(self.optimizers[name], flat, state["optimizers"][name])
        restore(self._generator, state["generator"])
