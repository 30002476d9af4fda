"""The student's update with its gradients written out: what the learner runs on a CPU.

In and out: as `learner.distill.student`, whose state and numbers these are. Must not know: who teaches.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from graspfleet.common.policy import LOG_STD_MAX, LOG_STD_MIN
from graspfleet.learner.distill.student import LOG_STD_FLOOR, STD_WEIGHT, Student, Taught
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot
from graspfleet.learner.sac.numba.agent import policy_layers
from graspfleet.learner.sac.numba.encoder import EncoderPass
from graspfleet.learner.sac.numba.kernels import Floats, compiled
from graspfleet.learner.sac.numba.matmul import Products
from graspfleet.learner.sac.numba.mlp import Pass
from graspfleet.learner.sac.numba.optimized import Optimized


@compiled
def imitate(
    head: Floats,
    taught_mean: Floats,
    taught_log_std: Floats,
    low: float,
    high: float,
    d_head: Floats,
    sums: Floats,
) -> None:
    """Write the gradient of the loss of `learner.distill.student.imitation_loss`.

    Args:
        head: [B, 2 A], the student's mean and unclipped log_std.
        taught_mean: [B, A], before tanh.
        taught_log_std: [B, A].
        low: bounds of log_std; a clipped one has no gradient.
        high: see `low`.
        d_head: [B, 2 A], written: gradient of the mean of the rows' losses.
        sums: [2], written: the sums of the losses and of the squared differences of the actions.
    """
    rows, size = taught_mean.shape
    sums[:] = 0
    share = np.float32(1 / rows)
    for b in range(rows):
        for a in range(size):
            mean, log_std = head[b, a], head[b, size + a]
            own, other = math.tanh(mean), math.tanh(taught_mean[b, a])
            # H = softplus(2 mean) - p 2 mean, p = (1 + other) / 2; softplus(x) = max(x, 0) + log(1 + e^-|x|)
            entropy = (
                max(2 * mean, np.float32(0)) + math.log(1 + math.exp(-2 * abs(mean))) - (1 + other) * mean
            )
            d_head[b, a] = share * (own - other)
            difference = min(max(log_std, np.float32(low)), np.float32(high)) - max(
                taught_log_std[b, a], np.float32(LOG_STD_FLOOR)
            )
            inside = low <= log_std <= high
            d_head[b, size + a] = share * 2 * np.float32(STD_WEIGHT) * difference if inside else np.float32(0)
            sums[0] += entropy + np.float32(STD_WEIGHT) * difference * difference
            sums[1] += (own - other) * (own - other)


class NumbaStudent:
    """A student whose update is written out for the CPU.

    Args:
        plain: the student to train.
        products: how the hidden layers multiply.
    """

    device = "cpu"

    def __init__(self, plain: Student, products: Products) -> None:
        self._plain, self._products, self._spec = plain, products, plain.spec
        self._optimized = [Optimized.of(plain.flat[name], plain.optimizers[name]) for name in plain.flat]
        self._num_rows = 0

    def _lay_out(self, num_rows: int) -> None:
        """Allocate the passes for batches of a size."""
        flat = self._plain.flat
        values = {name: each.views(each.values) for name, each in flat.items()}
        gradients = {name: each.views(each.gradient) for name, each in flat.items()}
        self._num_rows = num_rows
        self._encoder: EncoderPass | None = None
        if "encoder" in flat:
            self._encoder = EncoderPass(self._spec, values["encoder"], gradients["encoder"], num_rows)
        layers, d_layers = policy_layers(values["policy"]), policy_layers(gradients["policy"])
        self._policy = Pass(layers, num_rows, self._products, gradients=d_layers)
        self._d_head = np.empty((1, num_rows, 2 * self._spec.action_dim), np.float32)
        self._sums = np.empty(2, np.float32)

    def update(self, obs: Tensor, pixels: Tensor | None, taught: Taught) -> Mapping[str, float]:
        """Take one Adam step toward the teacher; see `Student.update`."""
        if len(obs) != self._num_rows:
            self._lay_out(len(obs))
        seen, policy = self._spec.policy_dim, self._policy
        policy.x[:, :seen] = obs[:, :seen].numpy()
        if self._encoder is not None and pixels is not None:
            self._encoder.forward(pixels.numpy(), self._plain.shifts(len(pixels)))
            policy.x[:, seen:] = self._encoder.latent
        policy.forward()
        mean, log_std = (each.numpy() for each in taught)
        imitate(policy.output[0], mean, log_std, LOG_STD_MIN, LOG_STD_MAX, self._d_head[0], self._sums)
        policy.backward(self._d_head)
        if self._encoder is not None:
            self._encoder.backward(policy.input_gradient(slice(seen, None)))
        for optimized in self._optimized:
            optimized.apply()
        self._plain.average()
        loss, squares = self._sums.tolist()
        return {"imitation_loss": loss / len(obs), "imitation_error": math.sqrt(squares / mean.size)}

    def snapshot(self) -> PolicySnapshot:
        """Return a copy of the policy after the updates so far."""
        return self._plain.snapshot()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the student."""
        return self._plain.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from `state_dict()`."""
        self._plain.load_state_dict(state)
