"""Soft Actor-Critic: the losses as pure functions with their equations, and one gradient update.

In: a batch of packed transitions (`EnvSpec.record`). Out: metrics as tensors, the policy's arrays for
actors, and the whole training state. Must not know: replay, sockets, files, environments.

Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications (arXiv 1812.05905).
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.config import SACConfig
from common.specs import EnvSpec, Records
from learner.networks import CRITICS_N, Policy, TwinCritic


def _check_batch(*vectors: Tensor, q: Tensor | None = None) -> None:
    """Refuse all but [B] vectors and [2, B] values of one B; [B, 1] with [B] would broadcast silently."""
    shape = vectors[0].shape
    if len(shape) != 1 or any(vector.shape != shape for vector in vectors):
        raise ValueError(f"expected one [B] for all, not {[list(vector.shape) for vector in vectors]}")
    if q is not None and q.shape != (CRITICS_N, *shape):
        raise ValueError(f"expected values [{CRITICS_N}, {shape[0]}], not {list(q.shape)}")


def td_target(
    reward: Tensor,
    terminated: Tensor,
    next_q: Tensor,
    next_log_prob: Tensor,
    *,
    discount: Tensor,
    temperature: Tensor,
) -> Tensor:
    """Return the entropy-regularised n-step Bellman target.

    y = r + discount * (1 - terminated) * (min_i Q_i(s', a') - temperature * log pi(a'|s'))

    Args:
        reward: [B] float32, already scaled and summed over the n steps.
        terminated: [B] bool; a time limit is not a terminal state and still bootstraps.
        next_q: [2, B] float32, target critics at (s', a'), a' ~ pi(.|s').
        next_log_prob: [B] float32, nats, after the tanh correction.
        discount: [B] float32, gamma**n of each transition, in [0, 1].
        temperature: scalar, reward per nat.

    Returns:
        [B] float32, detached.

    Raises:
        ValueError: batch sizes differ ([B, 1] with [B] would broadcast silently).

    Source: arXiv 1812.05905, equations 3 and 5; the minimum of two from Fujimoto et al. 2018, TD3.
    """
    _check_batch(reward, terminated, next_log_prob, discount, q=next_q)
    soft_value = next_q.amin(dim=0) - temperature * next_log_prob
    return (reward + discount * ~terminated * soft_value).detach()


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """Return the squared Bellman error, summed over the critics.

    J_Q = sum_i mean_B 1/2 * (Q_i(s, a) - y)^2

    Args:
        q: [2, B] float32, critics at the stored (s, a).
        target: [B] float32, y of `td_target`.

    Returns:
        Scalar, reward squared.

    Raises:
        ValueError: batch sizes differ.

    Source: arXiv 1812.05905, equation 5.
    """
    _check_batch(target, q=q)
    return 0.5 * (q - target).square().mean(dim=1).sum()


def policy_loss(log_prob: Tensor, q: Tensor, temperature: Tensor) -> Tensor:
    """Return the policy's loss; its gradient passes through the action into q.

    J_pi = mean_B (temperature * log pi(a|s) - min_i Q_i(s, a)),  a ~ pi(.|s) reparameterised

    Args:
        log_prob: [B] float32, nats.
        q: [2, B] float32, critics at (s, a).
        temperature: scalar, detached, reward per nat.

    Returns:
        Scalar, reward.

    Raises:
        ValueError: batch sizes differ.

    Source: arXiv 1812.05905, equations 7 and 9.
    """
    _check_batch(log_prob, q=q)
    return (temperature * log_prob - q.amin(dim=0)).mean()


def temperature_loss(log_temperature: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """Return the temperature's loss in the paper's form: it grows alpha while the entropy is too low.

    J(alpha) = mean_B -alpha * (log pi(a|s) + target_entropy),  alpha = exp(log_temperature)

    Args:
        log_temperature: scalar parameter; its exponential stays positive.
        log_prob: [B] float32, nats; no gradient flows into it.
        target_entropy: nats.

    Returns:
        Scalar, reward.

    Raises:
        ValueError: log_prob is not [B].

    Source: arXiv 1812.05905, equation 18. (Other code has log alpha in the place of the factor alpha.)
    """
    _check_batch(log_prob)
    return -log_temperature.exp() * (log_prob.detach().mean() + target_entropy)


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
        self._parameters = {
            "critic": [*self.critic.parameters(), *([self.log_temperature] if config.auto_entropy else [])],
            "policy": list(self.policy.parameters()),
        }
        self._optimizers = {
            name: torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
            for name, parameters in self._parameters.items()
        }
        explicit = config.target_entropy
        self._target_entropy = -float(spec.action_dim) if explicit is None else explicit

    def _noise(self, *shape: int) -> Tensor:
        """Return standard normal numbers of the agent's own generator."""
        return torch.randn(shape, generator=self._generator, device=self._generator.device)

    def update(self, batch: Records) -> Mapping[str, Tensor]:
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
        data = self._unpack(batch)
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

        self._move_target()
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
        parameters = self._parameters[name]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        self._optimizers[name].step()

    @torch.no_grad()
    def _move_target(self) -> None:
        """Move the targets: theta_bar <- (1 - tau) * theta_bar + tau * theta."""
        for target, online in zip(self.target.parameters(), self.critic.parameters(), strict=True):
            target.lerp_(online, self._config.tau)

    def _unpack(self, batch: Records) -> dict[str, Tensor]:
        """Return the fields of a batch as tensors: views of one copy (of none, on the CPU).

        `truncated` is left out, as a time limit changes no loss.
        """
        record = self._spec.record
        if batch.dtype != record or batch.ndim != 1 or not len(batch):
            raise ValueError(f"expected [B] of {record}, not {list(batch.shape)} of {batch.dtype}")
        packed = torch.from_numpy(batch.view(np.uint8).reshape(len(batch), -1)).to(self._generator.device)
        words = packed.view(torch.float32)
        assert record.fields is not None
        fields = {}
        for name in ("obs", "next_obs", "action", "reward", "discount"):
            kind, start = record.fields[name][0], record.fields[name][1] // 4
            column = words[:, start : start + kind.itemsize // 4]
            fields[name] = column if kind.shape else column[:, 0]
        fields["terminated"] = packed[:, record.fields["terminated"][1]].bool()
        return fields

    def policy_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return copies of the policy's parameters as `common.policy.NumpyPolicy` takes them: w [in, out]."""
        parameters = self.policy.named_parameters()
        return {name: value.detach().cpu().numpy().T.copy(order="C") for name, value in parameters}

    def state_dict(self) -> dict[str, Any]:
        """Return everything an update reads: plain containers and tensors, which later updates change.

        Training goes on bit-exactly from it on the same kind of device.
        """
        return {
            "policy": dict(self.policy.state_dict()),
            "critic": dict(self.critic.state_dict()),
            "target": dict(self.target.state_dict()),
            "log_temperature": self.log_temperature.detach(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; every setting stays the constructor's.

        Raises:
            KeyError, RuntimeError, ValueError: it is another network's state (torch's own words).
        """
        for name, network in (("policy", self.policy), ("critic", self.critic), ("target", self.target)):
            network.load_state_dict(state[name])
        with torch.no_grad():
            self.log_temperature.copy_(state["log_temperature"])
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
            optimizer.param_groups[0]["lr"] = self._config.learning_rate
        self._generator.set_state(state["generator"].cpu())
