"""The state of SAC that every back end trains: networks, temperature, optimizers, random numbers.

In: settings and a seed. Out: tensors whose memory never moves. Must not know: batches, losses.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from graspfleet.common.specs import EnvSpec
from graspfleet.learner.numerics.encoder import Encoder
from graspfleet.learner.numerics.generators import random_shifts, restore
from graspfleet.learner.publishing.policy_snapshot import Arrival, PolicySnapshot
from graspfleet.learner.sac.flat_parameters import Flat, adam, load_adam
from graspfleet.learner.sac.networks import CriticEnsemble, Policy
from graspfleet.learner.sac.published import published_vector, published_vectors, snapshot
from graspfleet.learner.sac.settings import SACConfig


class TrainingState:
    """Policy, critics, their targets, the temperature, and all optimizers.

    Args:
        spec: shapes and dtypes of a transition.
        settings: hyperparameters.
        seed: seed of the initial weights and of all noise; no global generator is used.
        device: torch device of all tensors.

    Attributes:
        generator: source of all random numbers.
        policy, critic, target: the networks.
        encoder: encoder of the images; None without images.
        log_temperature: scalar.
        flat: parameters of "policy", "critic", "target", "temperature" and, with images, "encoder": one
            vector each.
        ema: moving average of the published vector.
        optimizers: Adam optimizers by the same names; none for "target".
        target_entropy: nats.
    """

    def __init__(self, spec: EnvSpec, settings: SACConfig, *, seed: int, device: str = "cpu") -> None:
        self.spec, self.settings = spec, settings
        self.generator = torch.Generator(device).manual_seed(seed)
        latent_dim = settings.latent_dim if spec.images else 0
        dims = (spec.obs_dim + latent_dim, spec.action_dim, settings.hidden_dim)
        self.policy = Policy(spec.policy_dim + latent_dim, *dims[1:], self.generator)
        self.critic, self.target = (
            CriticEnsemble(
                *dims,
                self.generator,
                num_critics=settings.num_critics,
                layer_norm=settings.critic_layer_norm,
            )
            for _ in range(2)
        )
        self.target.requires_grad_(False)
        self.target.load_state_dict(self.critic.state_dict())
        self.encoder: Encoder | None = None
        if spec.images:
            self.encoder = Encoder(spec, settings.layers, latent_dim, self.generator)
        start = torch.full((), math.log(settings.initial_temperature), device=device)
        self.log_temperature = nn.Parameter(start, requires_grad=settings.auto_entropy)
        self.flat = {
            "critic": Flat(dict(self.critic.named_parameters())),
            "policy": Flat(dict(self.policy.named_parameters())),
            "target": Flat(dict(self.target.named_parameters())),
            "temperature": Flat({"log_temperature": self.log_temperature}),
        }
        rates = {"critic": settings.learning_rate, "policy": settings.learning_rate}
        if self.encoder is not None:
            self.flat["encoder"] = Flat(self.encoder.named())
            rates["encoder"] = settings.learning_rate
        self.ema = self.newest().clone()
        if settings.auto_entropy:
            rates["temperature"] = settings.temperature_learning_rate or settings.learning_rate
        self.optimizers = {name: adam(self.flat[name], rate) for name, rate in rates.items()}
        explicit = settings.target_entropy
        self.target_entropy = -float(spec.action_dim) if explicit is None else explicit

    def noise(self, *shape: int) -> Tensor:
        """Return standard normal noise."""
        return torch.randn(shape, generator=self.generator, device=self.generator.device)

    def shifts(self, count: int) -> list[Tensor]:
        """Return the random shifts of a batch of frames; see `random_shifts`."""
        return random_shifts(self.generator, self.settings.random_shift, count, len(self.spec.images))

    def critic_subset(self) -> Tensor | None:
        """Return the indices [M] of the critics whose minimum is the target; None for all of them."""
        size, count = self.settings.critic_subset, self.settings.num_critics
        if size is None:
            return None
        device = self.generator.device
        return torch.rand(count, generator=self.generator, device=device).argsort()[:size]

    def newest(self) -> Tensor:
        """Return the vector to publish."""
        return published_vector(self.flat)

    def published(self) -> Tensor:
        """Return the vectors to publish: the newest [1, N], or the newest and its average [2, N]."""
        return published_vectors(self.flat, self.ema, self.settings.ema_tau)

    def snapshot(self, vectors: Tensor, arrival: Arrival | None = None) -> PolicySnapshot:
        """Return the policy in `vectors`, a copy of `published()` on the host that `arrival` completes."""
        return snapshot(self.flat, vectors, arrival)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an update depends on; later updates change the returned tensors."""
        averaging = self.settings.ema_tau < 1
        return {
            "policy": dict(self.policy.state_dict()),
            "critic": dict(self.critic.state_dict()),
            "target": dict(self.target.state_dict()),
            "ema": self.ema if averaging else self.newest(),
            **({} if self.encoder is None else {"encoder": dict(self.encoder.state_dict())}),
            "log_temperature": self.log_temperature.detach(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy the values of `state_dict()` into the existing tensors; settings are kept.

        Raises:
            KeyError, RuntimeError, ValueError: the state does not fit the networks.
        """
        for name, network in (("policy", self.policy), ("critic", self.critic), ("target", self.target)):
            network.load_state_dict(state[name])
        if self.encoder is not None:
            self.encoder.load_state_dict(state["encoder"])
        with torch.no_grad():
            self.ema.copy_(state["ema"])
            self.log_temperature.copy_(state["log_temperature"])
            for name, optimizer in self.optimizers.items():
                if saved := state["optimizers"].get(name):  # None if the temperature was not tuned before
                    load_adam(optimizer, self.flat[name], saved)
        restore(self.generator, state["generator"])
