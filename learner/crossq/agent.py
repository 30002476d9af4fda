"""CrossQ's update in plain torch.

In: batches of packed transitions. Out: metrics as tensors, the policy for actors, the training state. Must
not know: replay, sockets, files, environments.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graspfleet.common.policy import LOG_STD_MAX, LOG_STD_MIN
from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.crossq.networks import RenormMLP
from graspfleet.learner.crossq.settings import CrossQConfig
from graspfleet.learner.numerics.records import require_batches, unpack
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot
from graspfleet.learner.sac.losses import critic_loss, policy_loss, td_target, temperature_loss
from graspfleet.learner.sac.networks import squash

BETAS = (0.5, 0.999)
"""Adam's decay rates, as in the paper."""


class CrossQ:
    """CrossQ; an `Algorithm`.

    Args:
        spec: shapes and dtypes of a transition.
        settings: hyperparameters.
        seed: seed of the initial weights and of every action sampled here.
        device: torch device of the networks.
    """

    def __init__(self, spec: EnvSpec, settings: CrossQConfig, *, seed: int, device: str = "cpu") -> None:
        self._spec, self._settings, self._updates = spec, settings, 0
        self._generator = generator = torch.Generator(device).manual_seed(seed)
        hidden, width, warmup = settings.hidden_dim, settings.critic_dim, settings.renorm_warmup
        self.actor = RenormMLP(1, (spec.obs_dim, hidden, hidden, 2 * spec.action_dim), warmup, generator)
        inputs = spec.obs_dim + spec.action_dim
        self.critic = RenormMLP(settings.num_critics, (inputs, width, width, 1), warmup, generator)
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(settings.initial_temperature), device=device)
        )
        rate, of_temperature = settings.learning_rate, settings.temperature_learning_rate
        self._optimizers = {
            "actor": torch.optim.Adam(self.actor.parameters(), rate, BETAS, fused=True),
            "critic": torch.optim.Adam(self.critic.parameters(), rate, BETAS, fused=True),
            "temperature": torch.optim.Adam(
                [self.log_temperature], of_temperature or rate, BETAS, fused=True
            ),
        }
        explicit = settings.target_entropy
        self._target_entropy = -float(spec.action_dim) if explicit is None else explicit
        self._metrics: dict[str, Tensor] = {}

    def update(self, batches: Records) -> Mapping[str, Tensor]:
        """Take one update with each of K batches; see `Algorithm`.

        Raises:
            ValueError: the batches have another dtype or shape.
        """
        require_batches(batches, self._spec)
        packed = torch.from_numpy(batches.view(np.uint8).reshape(*batches.shape, -1))
        for batch in packed.to(self._generator.device):
            data = unpack(batch, self._spec)
            self._update_critic(data)
            if self._updates % self._settings.policy_delay == 0:
                self._update_actor(data["obs"])
            self._updates += 1
        return self._metrics

    def _update_critic(self, data: Mapping[str, Tensor]) -> None:
        temperature = self.log_temperature.detach().exp()
        with torch.no_grad():
            next_action, next_log_prob = self._act(data["next_obs"], train=False)
        # One pass over both halves, so that the batch statistics cover (s, a) and (s', a') together.
        obs, action = torch.cat((data["obs"], data["next_obs"])), torch.cat((data["action"], next_action))
        q, next_q = self._values(obs, action, train=True).chunk(2, dim=1)
        target = td_target(
            data["reward"] * self._settings.reward_scale,
            data["terminated"],
            next_q,
            next_log_prob,
            discount=data["discount"],
            temperature=temperature,
        )
        loss = critic_loss(q, target)
        self._step("critic", self.critic.parameters(), loss)
        new = {"critic_loss": loss.detach(), "temperature": temperature, "q_mean": q.detach().mean()}
        self._metrics = {**self._metrics, **new}

    def _update_actor(self, obs: Tensor) -> None:
        temperature = self.log_temperature.detach().exp()
        action, log_prob = self._act(obs, train=True)
        loss = policy_loss(log_prob, self._values(obs, action, train=False), temperature)
        self._step("actor", self.actor.parameters(), loss)
        loss_temperature = temperature_loss(self.log_temperature, log_prob, self._target_entropy)
        self._step("temperature", [self.log_temperature], loss_temperature)
        self._metrics["policy_loss"], self._metrics["entropy"] = loss.detach(), -log_prob.detach().mean()
        self._metrics["temperature_loss"] = loss_temperature.detach()

    def _act(self, obs: Tensor, *, train: bool) -> tuple[Tensor, Tensor]:
        """Return a sampled action for each observation, and its log-probability."""
        mean, log_std = self.actor(obs, train=train)[0].chunk(2, dim=1)
        generator = self._generator
        noise = torch.randn(mean.shape, generator=generator, device=generator.device)
        return squash(mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX), noise)

    def _values(self, obs: Tensor, action: Tensor, *, train: bool) -> Tensor:
        """Return the values [N, B] of all critics."""
        values: Tensor = self.critic(torch.cat((obs, action), dim=1), train=train)
        return values[:, :, 0]

    def _step(self, name: str, parameters: Any, loss: Tensor) -> None:
        """Take one Adam step down `loss`; other leaves of its graph receive no gradient."""
        parameters = list(parameters)
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        self._optimizers[name].step()

    def policy(self) -> PolicySnapshot:
        """Return the policy with its normalization folded into the affine layers."""
        return PolicySnapshot(self.actor.folded())

    def metrics(self) -> Mapping[str, float]:
        """Return the scalars of the newest update."""
        return {name: float(value) for name, value in self._metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an update depends on, as plain containers and tensors."""
        return {
            "updates": self._updates,
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "log_temperature": self.log_temperature.detach(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`, except the learning rates, which the settings define."""
        self._updates = state["updates"]
        self.actor.load_state_dict(state["actor"])
        self.critic.load_state_dict(state["critic"])
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])
        for name, optimizer in self._optimizers.items():
            rate = optimizer.param_groups[0]["lr"]
            optimizer.load_state_dict(state["optimizers"][name])
            optimizer.param_groups[0]["lr"] = rate
        self._generator.set_state(state["generator"].cpu())
