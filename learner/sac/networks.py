"""The networks of SAC: a squashed-Gaussian policy and an ensemble of critics, as plain matrix products.

In: batches of observations, actions and noise, float32. Out: the Gaussian before tanh, sampled actions with
their log-probability, values of all critics. Must not know: losses, optimizers, replay, environments.

Layouts are chosen by measurement (256 x 256 layers, one core): a product with a narrow output is slow in
BLAS, so the policy stores weights [out, in] as `torch.nn.Linear` does (its head [256, 10]: 48 us against
93 us forward, 22 us against 102 us for the gradient), and the critics' last layer is a dot product.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from graspfleet.common.policy import LOG_STD_MAX, LOG_STD_MIN


def uniform(shape: Sequence[int], fan_in: int, generator: torch.Generator) -> nn.Parameter:
    """Return a parameter ~ U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the initialization of `torch.nn.Linear`."""
    bound = 1.0 / math.sqrt(fan_in)
    empty = torch.empty(*shape, dtype=torch.float32, device=generator.device)
    return nn.Parameter(empty.uniform_(-bound, bound, generator=generator))


def squash(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Sample tanh-squashed Gaussian actions, reparameterized, with their log-probability.

    u = mean + exp(log_std) * noise,  a = tanh(u)
    log pi(a|s) = sum_j [log N(u_j; mean_j, exp(log_std_j)) - log(1 - tanh(u_j)^2)]

    The last term is written 2 * (log 2 - u - softplus(-2u)), the same number without the cancellation
    that makes it -inf where tanh(u) rounds to 1.

    Args:
        mean: [B, A] float32, before tanh.
        log_std: [B, A] float32.
        noise: [B, A] float32, standard normal.

    Returns:
        action: [B, A] in [-1, 1].
        log_prob: [B], nats.

    Raises:
        ValueError: shapes differ.

    Source: arXiv 1812.05905, appendix C; the stable form is TensorFlow Probability's `Tanh` bijector.
    """
    if not mean.dim() == 2 or not mean.shape == log_std.shape == noise.shape:
        raise ValueError(f"shapes differ: {[list(x.shape) for x in (mean, log_std, noise)]}")
    u = torch.addcmul(mean, log_std.exp(), noise)
    # Terms without a gradient are summed separately, as at these sizes the calls of autograd dominate the
    # cost.
    constant = noise.square().sum(dim=1) * -0.5 - mean.shape[1] * math.log(4 * math.sqrt(2 * math.pi))
    log_prob = constant + (2 * (u + functional.softplus(-2 * u)) - log_std).sum(dim=1)
    return u.tanh(), log_prob


class Policy(nn.Module):
    """Gaussian policy before tanh: obs -> hidden -> hidden -> (mean, log_std), with ReLU.

    Mean and log_std are the two halves of one output layer. Parameters are named as in
    `common.policy.NumpyPolicy`; weights are [out, in] here and [in, out] there.

    Args:
        obs_dim: length of an observation.
        action_dim: length of an action.
        hidden_dim: units of each hidden layer.
        generator: source of the initial weights; its device becomes the network's.
    """

    w0: nn.Parameter
    b0: nn.Parameter
    w1: nn.Parameter
    b1: nn.Parameter
    w2: nn.Parameter
    b2: nn.Parameter

    def __init__(self, obs_dim: int, action_dim: int, hidden_dim: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = (obs_dim, hidden_dim, hidden_dim, 2 * action_dim)
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            self.register_parameter(f"w{i}", uniform((n_out, n_in), n_in, generator))
            self.register_parameter(f"b{i}", uniform((n_out,), n_in, generator))

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Gaussian at each observation.

        Args:
            obs: [B, obs_dim] float32.

        Returns:
            mean: [B, action_dim], before tanh.
            log_std: [B, action_dim], clipped to [LOG_STD_MIN, LOG_STD_MAX].
        """
        hidden = functional.linear(obs, self.w0, self.b0).relu_()
        hidden = functional.linear(hidden, self.w1, self.b1).relu_()
        mean, log_std = functional.linear(hidden, self.w2, self.b2).chunk(2, dim=1)
        return mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def sample(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return an action for each observation and its log-probability, as `squash` does.

        Args:
            obs: [B, obs_dim] float32.
            noise: [B, action_dim] float32, standard normal.
        """
        mean, log_std = self(obs)
        return squash(mean, log_std, noise)


class CriticEnsemble(nn.Module):
    """Independent critics (obs, action) -> hidden -> hidden -> value, stacked along dimension 0.

    One batched product evaluates all of them. The minimum of two counteracts overestimation (Fujimoto et al.
    2018, TD3).

    Args:
        obs_dim: length of an observation.
        action_dim: length of an action.
        hidden_dim: units of each hidden layer.
        generator: source of the initial weights; its device becomes the network's.
        num_critics: N.
        layer_norm: normalize each hidden layer before its ReLU (Ba et al. 2016), which keeps the values
            bounded on actions that the replay lacks (Ball et al. 2023, RLPD).
    """

    w0: nn.Parameter
    b0: nn.Parameter
    w1: nn.Parameter
    b1: nn.Parameter
    w2: nn.Parameter
    b2: nn.Parameter

    def __init__(
        self,
        obs_dim: int,
        action_dim: int,
        hidden_dim: int,
        generator: torch.Generator,
        *,
        num_critics: int,
        layer_norm: bool,
    ) -> None:
        super().__init__()
        for i, n_in in enumerate((obs_dim + action_dim, hidden_dim)):
            self.register_parameter(f"w{i}", uniform((num_critics, n_in, hidden_dim), n_in, generator))
            self.register_parameter(f"b{i}", uniform((num_critics, 1, hidden_dim), n_in, generator))
        self.w2 = uniform((num_critics, 1, hidden_dim), hidden_dim, generator)
        self.b2 = uniform((num_critics, 1), hidden_dim, generator)
        self._num_critics, self._layer_norm = num_critics, layer_norm
        self._ones = torch.ones(hidden_dim, device=generator.device)
        for i in range(2 if layer_norm else 0):
            shape = (num_critics, 1, hidden_dim)
            self.register_parameter(f"scale{i}", nn.Parameter(torch.ones(shape, device=generator.device)))
            self.register_parameter(f"shift{i}", nn.Parameter(torch.zeros(shape, device=generator.device)))

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the values of all critics.

        Args:
            obs: [B, obs_dim] float32.
            action: [B, action_dim] float32 in [-1, 1].

        Returns:
            [N, B] float32, reward (scaled).
        """
        both = torch.cat((obs, action), dim=1).expand(self._num_critics, -1, -1)
        hidden = self._activate(torch.baddbmm(self.b0, both, self.w0), 0)
        hidden = self._activate(torch.baddbmm(self.b1, hidden, self.w1), 1)
        value: Tensor = torch.linalg.vecdot(hidden, self.w2)
        return value + self.b2

    def _activate(self, hidden: Tensor, layer: int) -> Tensor:
        if self._layer_norm:
            scale, shift = getattr(self, f"scale{layer}"), getattr(self, f"shift{layer}")
            # layer_norm cannot apply an affine part that differs between the critics. Without any weight its
            # CPU kernel is slower (88 us instead of 55 us for [2, 256, 256]), hence the ones.
            normal = functional.layer_norm(hidden, hidden.shape[2:], self._ones)
            hidden = torch.addcmul(shift, normal, scale)
        return hidden.relu_()
