"""The same update as `learner.sac.agent`, with its gradients written out: what the learner runs on a CPU.

In and out: as `learner.sac.agent`. Must not know: replay, sockets, files, environments.

At batch 256 and 2 x 256 units, 614 million multiplications and additions an update are the floor; autograd,
small operators and passes over memory came on top. So:

- no graph: `learner.sac.numba.mlp` has the backward passes, `learner.sac.numba.matmul` the matrix products,
  `learner.sac.numba.kernels` what lies between them, `learner.sac.numba.update_kernels` the rest;
- memory is laid out once for a size of batches;
- the policy runs once, on obs and next_obs together;
- where the policy's loss depends, in each row, on the least of the critics alone, its gradient goes back only
  there: B rows in the place of N B;
- parameters, gradients and moments are one vector each (`learner.sac.flat_parameters`);
- with `bf16`, the products of the middle layers are taken of bfloat16 copies.
"""

import math
from collections.abc import Mapping
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.numerics.records import require_batches
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot
from graspfleet.learner.sac.numba import update_kernels
from graspfleet.learner.sac.numba.encoder import EncoderPass
from graspfleet.learner.sac.numba.kernels import Floats
from graspfleet.learner.sac.numba.matmul import Products
from graspfleet.learner.sac.numba.mlp import Layers, Pass
from graspfleet.learner.sac.numba.optimized import Optimized
from graspfleet.learner.sac.settings import SACConfig
from graspfleet.learner.sac.training_state import TrainingState


class NumbaSAC:
    """Soft Actor-Critic on the CPU; its state and its numbers are those of the plain one. An `Algorithm`.

    Args:
        spec: shapes and dtypes of a transition.
        settings: hyperparameters.
        batch_size: transitions of a batch; another size costs new memory.
        seed: of the initial weights and of every action sampled here.
        products: how the hidden layers multiply.

    Attributes:
        state: what is trained.
    """

    def __init__(
        self, spec: EnvSpec, settings: SACConfig, *, batch_size: int, seed: int, products: Products
    ) -> None:
        self.state = TrainingState(spec, settings, seed=seed)
        self._spec, self._settings, self._products = spec, settings, products
        self._optimized = {
            name: Optimized.of(self.state.flat[name], optimizer)
            for name, optimizer in self.state.optimizers.items()
        }
        self._log_temperature = self.state.log_temperature.detach().numpy()
        self._all_critics: NDArray[np.intp] = np.arange(settings.num_critics)
        self._metrics: Mapping[str, SupportsFloat] = {}
        self._lay_out(batch_size)

    def _lay_out(self, num_rows: int) -> None:
        """Make the passes for batches of some size."""
        values = {name: flat.views(flat.values) for name, flat in self.state.flat.items()}
        gradients = {name: flat.views(flat.gradient) for name, flat in self.state.flat.items()}
        self._num_rows = num_rows
        self._policy = Pass(
            policy_layers(values["policy"]),
            2 * num_rows,
            self._products,
            gradients=policy_layers(gradients["policy"]),
            num_trained=num_rows,
        )
        critic, d_critic = critic_layers(values["critic"]), critic_layers(gradients["critic"])
        self._critic = Pass(critic, num_rows, self._products, gradients=d_critic)
        self._target = Pass(critic_layers(values["target"]), num_rows, self._products)
        if self._spec.images:
            both = values["encoder"], gradients["encoder"]
            self._encoder, self._next_encoder = (EncoderPass(self._spec, *both, num_rows) for _ in range(2))

    def update(self, batches: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step with each of K batches; see `Algorithm`.

        Raises:
            ValueError: the batches have another dtype or shape.
        """
        require_batches(batches, self._spec)
        if batches.shape[1] != self._num_rows:
            self._lay_out(batches.shape[1])
        for batch in batches:
            self._metrics = self._update(batch)
        return self._metrics

    def _update(self, batch: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step of every network; see `SAC.update_packed`."""
        size, seen = len(batch), self._spec.policy_dim
        temperature = math.exp(self._log_temperature)
        noise = self.state.noise(2 * size, self._spec.action_dim).numpy()
        policy, critic = self._policy, self._critic
        obs, next_obs = self._inputs(batch)
        for rows, inputs in ((slice(size), obs), (slice(size, None), next_obs)):
            policy.x[rows, :seen] = inputs[:, :seen]
            policy.x[rows, seen:] = inputs[:, self._spec.obs_dim :]
        policy.forward()
        head, action, log_prob = policy.output[0], np.empty_like(noise), np.empty(2 * size, np.float32)
        update_kernels.squash(head, noise, action, log_prob)

        critic.x[:] = np.concatenate((obs, batch["action"]), axis=1)
        critic.forward()
        error = self._td_error(batch, next_obs, action[size:], log_prob[size:], temperature)
        q_mean = critic.output.sum() / critic.output.size
        critic.backward(error / np.float32(size))
        if self._spec.images:
            self._encoder.backward(critic.input_gradient(slice(self._spec.obs_dim, obs.shape[1])))
            self._optimized["encoder"].apply()
        self._optimized["critic"].apply()
        mean_log_prob = log_prob[:size].sum() / size
        loss_temperature = -temperature * (mean_log_prob + self.state.target_entropy)
        if tuned := self._optimized.get("temperature"):
            tuned.gradient[()] = loss_temperature
            tuned.apply()

        value = self._policy_step(noise[:size], action[:size], temperature)
        self._polyak_update()
        return {
            "critic_loss": 0.5 * np.vdot(error, error) / size,
            "policy_loss": temperature * mean_log_prob - value / size,
            "temperature_loss": loss_temperature if tuned else 0.0,
            "temperature": temperature,
            "entropy": -mean_log_prob,
            "q_mean": q_mean,
        }

    def _policy_step(self, noise: Floats, action: Floats, temperature: float) -> np.float32:
        """Take the policy's step against the new critics; return the sum of the values that it climbs.

        Args:
            noise: [B, A] of the actions.
            action: [B, A] sampled at obs, in the first rows of the policy's pass.
            temperature: reward per nat.
        """
        critic, size = self._critic, len(action)
        columns = slice(critic.x.shape[1] - action.shape[1], None)
        critic.x[:, columns] = action
        critic.forward()
        value, d_action = self._value_and_gradient(columns)
        head = self._policy.output[0, :size]
        d_head = np.empty((1, *head.shape), np.float32)
        update_kernels.squash_backward(head, noise, action, d_action, temperature, d_head[0])
        self._policy.backward(d_head)
        self._optimized["policy"].apply()
        return value

    def _inputs(self, batch: Records) -> tuple[Floats, Floats]:
        """Return the critics' inputs at obs and next_obs: the vectors and, with images, latent vectors."""
        obs, next_obs = batch["obs"], batch["next_obs"]
        if not self._spec.images:
            return obs, next_obs
        self._encoder.forward(batch["pixels"], self.state.shifts(len(batch)))
        self._next_encoder.forward(batch["next_pixels"], self.state.shifts(len(batch)))
        latents = self._encoder.latent, self._next_encoder.latent
        return np.concatenate((obs, latents[0]), axis=1), np.concatenate((next_obs, latents[1]), axis=1)

    def _td_error(
        self, batch: Records, next_obs: Floats, action: Floats, log_prob: Floats, temperature: float
    ) -> Floats:
        """Return how far each critic is from the target, [N, B, 1], for actions sampled at next_obs."""
        target, q = self._target, self._critic.output
        target.x[:] = np.concatenate((next_obs, action), axis=1)
        target.forward()
        drawn = self.state.critic_subset()
        subset = self._all_critics if drawn is None else drawn.numpy()
        reward, error = batch["reward"] * np.float32(self._settings.reward_scale), np.empty_like(q)
        known = reward, batch["discount"], batch["terminated"]
        update_kernels.td_error(*known, target.output, subset, log_prob, temperature, q, error)
        return error

    def _value_and_gradient(self, action_columns: slice) -> tuple[np.float32, Floats]:
        """Return the sum of what the policy climbs, min or mean over the critics, and its mean's gradient."""
        critic, count = self._critic, len(self._all_critics)
        q = critic.output[:, :, 0]
        if self._settings.critic_subset is not None:
            everywhere = [np.ones(q.shape[1], np.bool_)] * count
            return np.float32(q.sum() / count), critic.gradient_of_inputs(
                everywhere, action_columns, per_row=count
            )
        least = q.argmin(axis=0)
        chosen = [least == n for n in range(count)]
        return np.float32(q.min(axis=0).sum()), critic.gradient_of_inputs(chosen, action_columns)

    def _polyak_update(self) -> None:
        """Move the targets and the policy's average; see `SAC`."""
        flat, settings = self.state.flat, self._settings
        critic = self._optimized["critic"].values
        update_kernels.polyak_update(flat["target"].values.numpy(), critic, settings.tau)
        if settings.ema_tau < 1:
            newest = self.state.newest().numpy()
            update_kernels.polyak_update(self.state.ema.numpy(), newest, settings.ema_tau)

    def policy(self) -> PolicySnapshot:
        """Return a copy of the policy as it is after the updates so far."""
        return self.state.snapshot(self.state.published().clone())

    def metrics(self) -> Mapping[str, float]:
        """Return the scalars of the newest update."""
        return {name: float(value) for name, value in self._metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the training state; see `TrainingState`."""
        return self.state.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`; see `TrainingState`."""
        self.state.load_state_dict(state)


def policy_layers(named: Mapping[str, Tensor]) -> Layers:
    """Return views of `Policy`'s parameters as one network."""
    arrays = {name: value.numpy()[None] for name, value in named.items()}
    weights = [arrays[name].swapaxes(1, 2) for name in ("w0", "w1", "w2")]
    return Layers(weights, [arrays[name] for name in ("b0", "b1", "b2")])


def critic_layers(named: Mapping[str, Tensor]) -> Layers:
    """Return views of `CriticEnsemble`'s parameters as N networks."""
    arrays = {name: value.numpy() for name, value in named.items()}
    return Layers(
        weight=[arrays["w0"], arrays["w1"], arrays["w2"].swapaxes(1, 2)],
        bias=[arrays["b0"][:, 0], arrays["b1"][:, 0], arrays["b2"]],
        scale=[arrays[name][:, 0] for name in ("scale0", "scale1") if name in arrays],
        shift=[arrays[name][:, 0] for name in ("shift0", "shift1") if name in arrays],
    )
