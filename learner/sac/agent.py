"""Soft Actor-Critic's update in plain torch with autograd: the reference for the other back ends.

In: batches of packed transitions (`EnvSpec.record`). Out: metrics as tensors, the policy for actors, and the
whole training state. Must not know: replay, sockets, files, environments.

Sources: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications (arXiv 1812.05905); subsets of
critics from Chen et al. 2021, Randomized Ensembled Double Q-Learning (arXiv 2101.05982).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.numerics.records import require_batches, unpack
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot
from graspfleet.learner.sac.flat_parameters import step_down
from graspfleet.learner.sac.losses import critic_loss, policy_loss, td_target, temperature_loss
from graspfleet.learner.sac.settings import SACConfig
from graspfleet.learner.sac.training_state import TrainingState


class SAC:
    """Soft Actor-Critic; an `Algorithm`.

    Args:
        spec: shapes and dtypes of a transition.
        settings: hyperparameters.
        seed: seed of the initial weights and of every action sampled here.
        device: torch device of the networks.

    Attributes:
        state: networks, optimizers and random numbers.
    """

    def __init__(self, spec: EnvSpec, settings: SACConfig, *, seed: int, device: str = "cpu") -> None:
        self.state = TrainingState(spec, settings, seed=seed, device=device)
        self._spec, self._settings, self._device = spec, settings, device
        self._metrics: Mapping[str, Tensor] = {}

    def update(self, batches: Records) -> Mapping[str, Tensor]:
        """Take one gradient step with each of K batches; see `Algorithm`.

        Raises:
            ValueError: the batches have another dtype or shape.
        """
        require_batches(batches, self._spec)
        packed = torch.from_numpy(batches.view(np.uint8).reshape(*batches.shape, -1)).to(self._device)
        for batch in packed:
            metrics = self.update_packed(batch)
        return metrics

    def update_packed(self, packed: Tensor) -> Mapping[str, Tensor]:
        """Take one gradient step of every network, in the order of the common implementations.

        The order is critics, temperature (used from the next update on), policy against the new critics,
        targets. Temperature and policy share the actions sampled at `obs`.

        Args:
            packed: [B, bytes of a sample] uint8, on the device.

        Returns:
            Detached scalars by name, as in `learner.sac.METRICS`.
        """
        state, data = self.state, unpack(packed, self._spec)
        temperature = state.log_temperature.detach().exp()
        noise, next_noise = state.noise(2, *data["action"].shape)
        obs = self._inputs(data["obs"], data.get("pixels"))
        seen = obs.detach()
        action, log_prob = state.policy.sample(self._policy_inputs(seen), noise)

        q = state.critic(obs, data["action"])
        loss_critic = critic_loss(q, self._target_value(data, next_noise, temperature))
        self._step(loss_critic, "critic", *(["encoder"] if self._spec.images else []))
        loss_temperature = torch.zeros_like(temperature)
        if self._settings.auto_entropy:
            loss_temperature = temperature_loss(state.log_temperature, log_prob, state.target_entropy)
            self._step(loss_temperature, "temperature")

        value = state.critic(seen, action)
        loss_policy = policy_loss(
            log_prob, value, temperature, take_mean=self._settings.critic_subset is not None
        )
        self._step(loss_policy, "policy")

        self._polyak_update()
        self._metrics = {
            "critic_loss": loss_critic.detach(),
            "policy_loss": loss_policy.detach(),
            "temperature_loss": loss_temperature.detach(),
            "temperature": temperature,
            "entropy": -log_prob.detach().mean(),
            "q_mean": q.detach().mean(),
        }
        return self._metrics

    @torch.no_grad()
    def _target_value(self, data: Mapping[str, Tensor], noise: Tensor, temperature: Tensor) -> Tensor:
        state = self.state
        obs = self._inputs(data["next_obs"], data.get("next_pixels"))
        subset = state.critic_subset()
        action, log_prob = state.policy.sample(self._policy_inputs(obs), noise)
        next_q = state.target(obs, action)
        return td_target(
            data["reward"] * self._settings.reward_scale,
            data["terminated"],
            next_q if subset is None else next_q[subset],
            log_prob,
            discount=data["discount"],
            temperature=temperature,
        )

    def _inputs(self, vector: Tensor, pixels: Tensor | None) -> Tensor:
        """Return the critics' inputs [B, obs_dim + L]: the vector and, with images, their latent vector.

        One encoder serves all networks; only the critics' loss trains it, and it has no target copy (DrQ-v2).
        """
        encoder = self.state.encoder
        if encoder is None or pixels is None:
            return vector
        return torch.cat((vector, encoder(pixels, self.state.shifts(len(pixels)))), dim=1)

    def _policy_inputs(self, obs: Tensor) -> Tensor:
        """Return the critics' inputs without the privileged ones."""
        seen, every = self._spec.policy_dim, self._spec.obs_dim
        return obs if seen == every else torch.cat((obs[:, :seen], obs[:, every:]), dim=1)

    def _step(self, loss: Tensor, *names: str) -> None:
        """Take one Adam step down `loss` with the named parameters."""
        state = self.state
        step_down(loss, [state.flat[name] for name in names], [state.optimizers[name] for name in names])

    def _polyak_update(self) -> None:
        """Update the targets and the policy's average: theta_bar <- (1 - tau) * theta_bar + tau * theta.

        Averaging removes the noise of individual updates from the policy (Polyak and Juditsky 1992).
        """
        state, settings = self.state, self._settings
        state.flat["target"].values.lerp_(state.flat["critic"].values, settings.tau)
        if settings.ema_tau < 1:
            state.ema.lerp_(state.newest(), settings.ema_tau)

    def policy(self) -> PolicySnapshot:
        """Return a copy of the policy after the updates so far."""
        return self.state.snapshot(self.state.published().to("cpu", copy=True))

    def metrics(self) -> Mapping[str, float]:
        """Return the scalars of the newest update."""
        return {name: float(value) for name, value in self._metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the training state; see `TrainingState`."""
        return self.state.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`; see `TrainingState`."""
        self.state.load_state_dict(state)
