"""The same update as `learner.sac.agent`, with its gradients written out: what the learner runs on a CPU.

In and out: as `learner.sac.agent`. Must not know: replay, sockets, files, environments.

At batch 256 and 2 x 256 units, 614 million multiplications and additions an update are the floor; autograd,
small operators and passes over memory came on top. So:

- no graph: `learner.sac.numba.mlp` has the backward passes, `learner.sac.numba.matmul` the matrix products,
  `learner.sac.numba.kernels` what lies between them, `learner.sac.numba.update_kernels` the rest;
- memory is laid out once for a size of batches;
- the policy runs once, on obs and next_obs together;
- the policy's loss depends, in each row, on the smaller of two critics alone, and only there does its
  gradient go back: B rows in the place of 2 B;
- parameters, gradients and moments are one vector each (`learner.sac.flat_parameters`);
- with `bf16`, the products of the middle layers are taken of bfloat16 copies.
"""

import math
from collections.abc import Mapping
from typing import SupportsFloat

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from common.config import SACConfig
from common.errors import ConfigError
from common.specs import EnvSpec, Records
from learner.sac.agent import SACAgent
from learner.sac.numba import update_kernels
from learner.sac.numba.kernels import Floats
from learner.sac.numba.matmul import BF16, FP32, FP32_THREADED, Products
from learner.sac.numba.mlp import Layers, Pass


class FastSACAgent(SACAgent):
    """Soft Actor-Critic on the CPU; its state and its numbers are those of `SACAgent`.

    Args:
        spec: shapes and dtypes of a transition.
        config: hyperparameters.
        seed: of the initial weights and of every action sampled here.
        products: how the hidden layers multiply.
    """

    def __init__(self, spec: EnvSpec, config: SACConfig, *, seed: int, products: Products) -> None:
        super().__init__(spec, config, seed=seed)
        self._products = products
        # Views of all that an update changes; a state that is loaded is copied into the same memory.
        self._optimized = {name: self._arrays(name) for name in self._optimizers}
        self._log_temperature = self.log_temperature.detach().numpy()
        gradient = self.flat["critic"].views(self.flat["critic"].gradient).get("log_temperature")
        self._temperature_gradient = None if gradient is None else gradient.numpy()
        self._follower = self.flat["target"].values.numpy()
        self._followed = self.flat["critic"].values.numpy()[: len(self._follower)]
        self._lay_out(config.batch_size)

    def _arrays(self, name: str) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Return values, gradient, Adam's moments and its step."""
        flat = self.flat[name]
        state = self._optimizers[name].state[flat.vector]
        moments = state["exp_avg"].numpy(), state["exp_avg_sq"].numpy()
        return flat.values.numpy(), flat.gradient.numpy(), *moments, state["step"].numpy()

    def _lay_out(self, rows_n: int) -> None:
        """Make the passes for batches of some size."""
        values = {name: flat.views(flat.values) for name, flat in self.flat.items()}
        gradients = {name: flat.views(flat.gradient) for name, flat in self.flat.items()}
        self._rows_n = rows_n
        self._policy = Pass(
            policy_layers(values["policy"]),
            2 * rows_n,
            self._products,
            gradients=policy_layers(gradients["policy"]),
            trained_n=rows_n,
        )
        critic, d_critic = critic_layers(values["critic"]), critic_layers(gradients["critic"])
        self._critic = Pass(critic, rows_n, self._products, gradients=d_critic)
        self._target = Pass(critic_layers(values["target"]), rows_n, self._products)

    def update(self, batch: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step of every network; see `SACAgent.update`."""
        self._check(batch)
        size, action_columns = len(batch), slice(self._spec.obs_dim, None)
        if size != self._rows_n:
            self._lay_out(size)
        temperature = math.exp(self._log_temperature)
        noise = self._noise(2 * size, self._spec.action_dim).numpy()
        policy, critic = self._policy, self._critic
        policy.x[:size], policy.x[size:] = batch["obs"], batch["next_obs"]
        policy.forward()
        head, action, log_prob = policy.output[0], np.empty_like(noise), np.empty(2 * size, np.float32)
        update_kernels.squash(head, noise, action, log_prob)

        critic.x[:] = np.concatenate((batch["obs"], batch["action"]), axis=1)
        critic.forward()
        error = self._td_error(batch, action[size:], log_prob[size:], temperature)
        q_mean = critic.output.sum() / critic.output.size
        critic.backward(error / np.float32(size))
        mean_log_prob = log_prob[:size].sum() / size
        surplus = mean_log_prob + self._target_entropy
        if self._temperature_gradient is not None:
            self._temperature_gradient[()] = -temperature * surplus
        self._apply("critic")

        critic.x[:, action_columns] = action[:size]
        critic.forward()
        first_q, second_q = critic.output[:, :, 0]
        first = first_q <= second_q
        d_action = critic.gradient_of_inputs((first, ~first), action_columns)
        d_head = np.empty((1, size, head.shape[1]), np.float32)
        update_kernels.squash_backward(
            head[:size], noise[:size], action[:size], d_action, temperature, d_head[0]
        )
        policy.backward(d_head)
        self._apply("policy")
        self._follow()
        return {
            "critic_loss": 0.5 * np.vdot(error, error) / size,
            "policy_loss": temperature * mean_log_prob - np.minimum(first_q, second_q).sum() / size,
            "temperature_loss": -temperature * surplus if self._config.auto_entropy else 0.0,
            "temperature": temperature,
            "entropy": -mean_log_prob,
            "q_mean": q_mean,
        }

    def _td_error(self, batch: Records, action: Floats, log_prob: Floats, temperature: float) -> Floats:
        """Return how far both critics are from the target, [2, B, 1], for actions sampled at next_obs."""
        target, q = self._target, self._critic.output
        target.x[:] = np.concatenate((batch["next_obs"], action), axis=1)
        target.forward()
        reward, error = batch["reward"] * np.float32(self._config.reward_scale), np.empty_like(q)
        known = reward, batch["discount"], batch["terminated"]
        update_kernels.td_error(*known, target.output, log_prob, temperature, q, error)
        return error

    def _follow(self) -> None:
        """Move the targets and the average policy; see `SACAgent`."""
        config, policy = self._config, self._optimized["policy"][0]
        update_kernels.polyak_update(self._follower, self._followed, config.tau)
        if config.ema_tau < 1:
            update_kernels.polyak_update(self._average.numpy(), policy, config.ema_tau)

    def _apply(self, name: str) -> None:
        """Take Adam's step with the gradient at hand, in the optimizer's own state."""
        values, gradient, first, second, step = self._optimized[name]
        step += 1
        group = self._optimizers[name].param_groups[0]
        scalars = float(step), group["lr"], group["betas"], group["eps"]
        update_kernels.adam(values, gradient, first, second, *scalars)


def policy_layers(named: Mapping[str, Tensor]) -> Layers:
    """Return views of `Policy`'s parameters as one network."""
    arrays = {name: value.numpy()[None] for name, value in named.items()}
    weights = [arrays[name].swapaxes(1, 2) for name in ("w0", "w1", "w2")]
    return Layers(weights, [arrays[name] for name in ("b0", "b1", "b2")])


def critic_layers(named: Mapping[str, Tensor]) -> Layers:
    """Return views of `TwinCritic`'s parameters as two networks."""
    arrays = {name: value.numpy() for name, value in named.items()}
    return Layers(
        weight=[arrays["w0"], arrays["w1"], arrays["w2"].swapaxes(1, 2)],
        bias=[arrays["b0"][:, 0], arrays["b1"][:, 0], arrays["b2"]],
        scale=[arrays[name][:, 0] for name in ("scale0", "scale1") if name in arrays],
        shift=[arrays[name][:, 0] for name in ("shift0", "shift1") if name in arrays],
    )


BF16_FROM = 1 << 24
"""Multiplications of one middle layer, batch x units x units, from which the conversion to bfloat16 pays."""


def uses_bf16(config: SACConfig) -> bool:
    """Whether the settings come to bfloat16 products on this CPU.

    Raises:
        ConfigError: they were asked for and it has no instructions for them.
    """
    able = any(torch.cpu.get_capabilities().get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    if config.precision == "bf16" and not able:
        raise ConfigError("--precision bf16: this CPU has no bfloat16 instructions; allowed: fp32, auto")
    gains = able and config.batch_size * config.hidden_dim**2 >= BF16_FROM
    return config.precision == "bf16" or (config.precision == "auto" and gains)


def make_agent(spec: EnvSpec, config: SACConfig, *, seed: int, threads: int) -> SACAgent:
    """Return the fastest agent for this machine, in the precision that the settings ask for.

    Args:
        spec: shapes and dtypes of a transition.
        config: hyperparameters.
        seed: of the initial weights and of every action sampled by it.
        threads: of one update; those of the whole process are set.

    Raises:
        ConfigError: bf16 was asked for and this CPU has no instructions for it.
    """
    use_bf16 = uses_bf16(config)
    threadpool_limits(1, user_api="blas")  # NumPy's; what is worth sharing goes through torch
    torch.set_num_threads(threads)
    fp32 = FP32 if threads == 1 else FP32_THREADED
    products = Products(fp32, BF16 if use_bf16 else fp32)
    return FastSACAgent(spec, config, seed=seed, products=products)
