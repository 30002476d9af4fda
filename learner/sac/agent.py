"""Soft Actor-Critic: the networks with their optimizers, and one gradient update, written plainly.

In: a batch of packed transitions (`EnvSpec.record`). Out: metrics as tensors, the policy's arrays for
actors, and the whole training state. Must not know: replay, sockets, files, environments.

Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications (arXiv 1812.05905).
"""

import logging
import math
from collections.abc import Mapping
from typing import Any, SupportsFloat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.config import SACConfig
from common.specs import EnvSpec, Records
from learner.publishing.policy_snapshot import PolicySnapshot
from learner.sac.flat_parameters import Flat
from learner.sac.losses import critic_loss, policy_loss, td_target, temperature_loss
from learner.sac.networks import Policy, TwinCritic

log = logging.getLogger(__name__)


class SACAgent:
    """Policy, twin critics, their targets, the temperature, and the optimizers of them all.

    Args:
        spec: shapes and dtypes of a transition.
        config: hyperparameters.
        seed: of the initial weights and of every action sampled here; no global generator is used.
        device: where the networks live, in torch's words.
    """

    def __init__(self, spec: EnvSpec, config: SACConfig, *, seed: int, device: str = "cpu") -> None:
        self._spec, self._config = spec, config
        self._generator = torch.Generator(device).manual_seed(seed)
        dims = (spec.obs_dim, spec.action_dim, config.hidden_dim, self._generator)
        self.policy = Policy(*dims)
        self.critic = TwinCritic(*dims, layer_norm=config.critic_layer_norm)
        self.target = TwinCritic(*dims, layer_norm=config.critic_layer_norm).requires_grad_(False)
        self.target.load_state_dict(self.critic.state_dict())
        start = torch.full((), math.log(config.initial_temperature), device=device)
        self.log_temperature = nn.Parameter(start, requires_grad=config.auto_entropy)
        # Critics and temperature share nothing, so one backward pass and one Adam step serve both.
        tuned = {"log_temperature": self.log_temperature} if config.auto_entropy else {}
        self.flat = {
            "critic": Flat({**dict(self.critic.named_parameters()), **tuned}),
            "policy": Flat(dict(self.policy.named_parameters())),
            "target": Flat(dict(self.target.named_parameters())),
        }
        self._average = self.flat["policy"].values.clone()
        self._optimizers = {
            name: torch.optim.Adam([self.flat[name].vector], lr=config.learning_rate, fused=True)
            for name in ("critic", "policy")
        }
        for name, optimizer in self._optimizers.items():  # what Adam makes of it in its first step
            vector = self.flat[name].vector
            moments = {"exp_avg": torch.zeros_like(vector), "exp_avg_sq": torch.zeros_like(vector)}
            optimizer.state[vector] = {"step": torch.zeros((), device=device), **moments}
        explicit = config.target_entropy
        self._target_entropy = -float(spec.action_dim) if explicit is None else explicit

    def _noise(self, *shape: int) -> Tensor:
        """Return standard normal numbers of the agent's own generator."""
        return torch.randn(shape, generator=self._generator, device=self._generator.device)

    def update_each(self, batches: Records) -> Mapping[str, SupportsFloat]:
        """Take one `update` with each of some batches, in turn.

        Args:
            batches: [K, B] of `spec.record`, contiguous and writable.

        Returns:
            Those of the last update.
        """
        for batch in batches:
            metrics = self.update(batch)
        return metrics

    def update(self, batch: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step of every network, in the order of the common implementations.

        Temperature (used from the next update on) and critics, policy against the new critics, targets.
        The actions sampled at `obs` serve temperature and policy alike, as the policy is the same then.

        Args:
            batch: [B] of `spec.record`, contiguous and writable.

        Returns:
            Detached scalars: critic_loss, policy_loss, temperature_loss (as the functions above),
            temperature (the one used here), entropy (mean of -log pi, nats), q_mean (reward, scaled).

        Raises:
            ValueError: the batch has another dtype or shape.
        """
        self._check(batch)
        packed = torch.from_numpy(batch.view(np.uint8).reshape(len(batch), -1))
        return self._update(packed.to(self._generator.device))

    def _update(self, packed: Tensor) -> dict[str, Tensor]:
        """Do as `update` says with a batch [B, bytes of a record] on the device."""
        data = self._unpack(packed)
        temperature = self.log_temperature.detach().exp()
        noise, next_noise = self._noise(2, *data["action"].shape)
        action, log_prob = self.policy.sample(data["obs"], noise)

        q = self.critic(data["obs"], data["action"])
        loss_critic = critic_loss(q, self._target_value(data, next_noise, temperature))
        loss_temperature = torch.zeros_like(temperature)
        if self._config.auto_entropy:
            loss_temperature = temperature_loss(self.log_temperature, log_prob, self._target_entropy)
        self._step("critic", loss_critic + loss_temperature)

        loss_policy = policy_loss(log_prob, self.critic(data["obs"], action), temperature)
        self._step("policy", loss_policy)

        self._follow()
        return {
            "critic_loss": loss_critic.detach(),
            "policy_loss": loss_policy.detach(),
            "temperature_loss": loss_temperature.detach(),
            "temperature": temperature,
            "entropy": -log_prob.detach().mean(),
            "q_mean": q.detach().mean(),
        }

    @torch.no_grad()
    def _target_value(self, data: Mapping[str, Tensor], noise: Tensor, temperature: Tensor) -> Tensor:
        action, log_prob = self.policy.sample(data["next_obs"], noise)
        return td_target(
            data["reward"] * self._config.reward_scale,
            data["terminated"],
            self.target(data["next_obs"], action),
            log_prob,
            discount=data["discount"],
            temperature=temperature,
        )

    def _step(self, name: str, loss: Tensor) -> None:
        """Take one Adam step down `loss`; other leaves of its graph receive no gradient, nor pay for one."""
        flat = self.flat[name]
        gradients = torch.autograd.grad(loss, list(flat.parameters.values()))
        torch.cat([gradient.flatten() for gradient in gradients], out=flat.gradient)
        self._optimizers[name].step()

    def _follow(self) -> None:
        """Move the targets: theta_bar <- (1 - tau) * theta_bar + tau * theta; likewise the average policy.

        From update to update a policy wanders around what many of them have in common; their mean does not
        (Polyak and Juditsky 1992).
        """
        target = self.flat["target"].values
        target.lerp_(self.flat["critic"].values[: len(target)], self._config.tau)
        if self._config.ema_tau < 1:
            self._average.lerp_(self.flat["policy"].values, self._config.ema_tau)

    def _check(self, batch: Records) -> None:
        """Raise ValueError for a batch of another dtype or shape."""
        record = self._spec.record
        if batch.dtype != record or batch.ndim != 1 or not len(batch):
            raise ValueError(f"expected [B] of {record}, not {list(batch.shape)} of {batch.dtype}")

    def _unpack(self, packed: Tensor) -> dict[str, Tensor]:
        """Return the fields of a batch [B, bytes of a record] as views of it.

        `truncated` is left out, as a time limit changes no loss.
        """
        record = self._spec.record
        words = packed.view(torch.float32)
        assert record.fields is not None
        fields = {}
        for name in ("obs", "next_obs", "action", "reward", "discount"):
            kind, start = record.fields[name][0], record.fields[name][1] // 4
            column = words[:, start : start + kind.itemsize // 4]
            fields[name] = column if kind.shape else column[:, 0]
        fields["terminated"] = packed[:, record.fields["terminated"][1]].bool()
        return fields

    def copy_policy(self) -> PolicySnapshot:
        """Return a copy of the policy as it is after the updates so far, perhaps still on its way here."""
        return self._policy_snapshot(self._vectors().to("cpu", copy=True))

    def _vectors(self) -> Tensor:
        """Return what is published: the policy [1, N], or it and its average [2, N]."""
        policy = self.flat["policy"].values
        return policy[None] if self._config.ema_tau == 1 else torch.stack((policy, self._average))

    def _policy_snapshot(self, vectors: Tensor, arrived: torch.cuda.Event | None = None) -> PolicySnapshot:
        """Return a copy of what `_vectors` returned, here or on its way here."""
        return PolicySnapshot([self.flat["policy"].views(vector) for vector in vectors], arrived)

    def policy_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return copies of the policy's parameters as `common.policy.NumpyPolicy` takes them: w [in, out]."""
        return self.copy_policy().arrays()

    def state_dict(self) -> dict[str, Any]:
        """Return everything an update reads: plain containers and tensors, which later updates change.

        Training goes on bit-exactly from it on the same kind of device.
        """
        return {
            "policy": dict(self.policy.state_dict()),
            "critic": dict(self.critic.state_dict()),
            "target": dict(self.target.state_dict()),
            "average": self._average if self._config.ema_tau < 1 else self.flat["policy"].values,
            "log_temperature": self.log_temperature.detach(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; every setting stays the constructor's.

        All tensors stay where they are and take the values, so whatever holds on to their memory goes on.

        Raises:
            KeyError, RuntimeError, ValueError: it is another network's state (torch's own words).
        """
        for name, network in (("policy", self.policy), ("critic", self.critic), ("target", self.target)):
            network.load_state_dict(state[name])
        with torch.no_grad():
            self._average.copy_(state["average"])
            self.log_temperature.copy_(state["log_temperature"])
            for name, optimizer in self._optimizers.items():
                for key, value in optimizer.state[self.flat[name].vector].items():
                    value.copy_(state["optimizers"][name]["state"][0][key])
        random = state["generator"].cpu()
        if random.shape == self._generator.get_state().shape:
            self._generator.set_state(random)
        else:  # a CPU's generator has another state than a GPU's
            log.warning("the state is of another kind of device: random numbers begin anew")
