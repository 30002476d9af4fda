"""The same update as `learner.sac`, with its gradients written out: what the learner runs on a CPU.

In and out: as `learner.sac`. Must not know: replay, sockets, files, environments.

At batch 256 and 2 x 256 units, 614 million multiplications and additions an update are the floor; autograd,
small operators and passes over memory came on top. So:

- no graph: `learner.layers` has the backward passes, `learner.kernels` all that is no matrix product;
- the policy runs once, on obs and next_obs together;
- the policy's loss depends, in each row, on the smaller of two critics alone, and only there does its
  gradient go back: B rows in the place of 2 B;
- parameters, gradients and moments are one vector each (`learner.flat`);
- with `bf16`, the products of the middle layers are taken of bfloat16 copies.
"""

from collections.abc import Mapping
from typing import SupportsFloat

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from common.config import SACConfig
from common.errors import ConfigError
from common.specs import EnvSpec, Records
from learner import kernels
from learner.kernels import Floats
from learner.layers import (
    Layers,
    Products,
    Tape,
    backward,
    forward,
    product_bf16,
    product_numpy,
    product_torch,
)
from learner.sac import SACAgent


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
        values = {name: flat.views(flat.values) for name, flat in self.flat.items()}
        gradients = {name: flat.views(flat.gradient) for name, flat in self.flat.items()}
        self._policy, self._policy_gradient = (policy_layers(kind["policy"]) for kind in (values, gradients))
        self._critic, self._critic_gradient = (critic_layers(kind["critic"]) for kind in (values, gradients))
        self._target = critic_layers(values["target"])
        self._temperature_gradient = gradients["critic"].get("log_temperature")

    def update(self, batch: Records) -> Mapping[str, SupportsFloat]:
        """Take one gradient step of every network; see `SACAgent.update`."""
        self._check(batch)
        size, temperature = len(batch), self.log_temperature.detach().exp().item()
        noise = self._noise(2, *batch["action"].shape).flatten(0, 1).numpy()
        obs = np.concatenate((batch["obs"], batch["next_obs"]))
        head, tape = forward(self._policy, obs[None], self._products)
        action, log_prob = np.empty_like(noise), np.empty(2 * size, np.float32)
        kernels.squash(head[0], noise, action, log_prob)

        q, q_tape = self._values(self._critic, batch["obs"], batch["action"])
        error = q - self._td_target(batch, action[size:], log_prob[size:], temperature)
        d_q = error[:, :, None] / np.float32(size)
        backward(self._critic, q_tape, d_q, self._products, gradients=self._critic_gradient)
        surplus = float(log_prob[:size].mean()) + self._target_entropy
        if self._temperature_gradient is not None:
            self._temperature_gradient.fill_(-temperature * surplus)
        self._apply("critic")

        action_q, q_tape = self._values(self._critic, batch["obs"], action[:size])
        d_head = np.empty_like(head[:, :size])
        d_action = self._gradient_of_action(action_q, q_tape)
        kernels.unsquash(head[0, :size], noise[:size], action[:size], d_action, temperature, d_head[0])
        now = Tape([part[:, :size] for part in tape.inputs])
        backward(self._policy, now, d_head, self._products, gradients=self._policy_gradient)
        self._apply("policy")
        self._move_target()
        return {
            "critic_loss": 0.5 * np.vdot(error, error) / size,
            "policy_loss": (temperature * log_prob[:size] - action_q.min(axis=0)).mean(),
            "temperature_loss": -temperature * surplus if self._config.auto_entropy else 0.0,
            "temperature": temperature,
            "entropy": self._target_entropy - surplus,
            "q_mean": q.mean(),
        }

    def _td_target(self, batch: Records, action: Floats, log_prob: Floats, temperature: float) -> Floats:
        """Return [B], as `losses.td_target`, for sampled actions [B, A] at next_obs."""
        q, _ = self._values(self._target, batch["next_obs"], action)
        reward = batch["reward"] * np.float32(self._config.reward_scale)
        target: Floats = reward + batch["discount"] * ~batch["terminated"] * (
            q.min(axis=0) - temperature * log_prob
        )
        return target

    def _values(self, critic: Layers, obs: Floats, action: Floats) -> tuple[Floats, Tape]:
        """Return both critics' values of B states and actions, [2, B], and the tape."""
        output, tape = forward(critic, np.concatenate((obs, action), axis=1)[None], self._products)
        return output[:, :, 0], tape

    def _gradient_of_action(self, q: Floats, tape: Tape) -> Floats:
        """Return d (mean_B min_i Q_i(s, a)) / da, [B, A]: each row by the critic that is smaller there."""
        size = q.shape[1]
        columns = slice(self._spec.obs_dim, None)
        d_action = np.empty((size, self._spec.action_dim), np.float32)
        first = q[0] <= q[1]
        for n, chosen in enumerate((first, ~first)):
            rows = chosen.nonzero()[0]
            d = np.full((1, len(rows), 1), 1 / size, np.float32)
            critic, part = self._critic.network(n), tape.hidden_rows(n, rows)
            d_action[rows] = backward(critic, part, d, self._products, inputs=columns)
        return d_action

    def _apply(self, name: str) -> None:
        """Take Adam's step with the gradient at hand, in the optimizer's own state."""
        flat, optimizer = self.flat[name], self._optimizers[name]
        state, group = optimizer.state[flat.vector], optimizer.param_groups[0]
        state["step"] += 1
        kernels.adam(
            flat.values.numpy(),
            flat.gradient.numpy(),
            state["exp_avg"].numpy(),
            state["exp_avg_sq"].numpy(),
            state["step"].item(),
            group["lr"],
            group["betas"],
            group["eps"],
        )

    def _move_target(self) -> None:
        target = self.flat["target"].values.numpy()
        kernels.follow(target, self.flat["critic"].values.numpy()[: len(target)], self._config.tau)


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
    fp32 = product_numpy if threads == 1 else product_torch
    products = Products(fp32, product_bf16 if use_bf16 else fp32)
    return FastSACAgent(spec, config, seed=seed, products=products)
