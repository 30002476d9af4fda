"""The parts of a SAC update that are neither a layer nor a product, each one pass over memory, by Numba.

Sampled actions, the critics' error, Adam and the targets' step. In and out: float32 arrays, most of them
changed in place. Must not know: networks, torch.

B is the rows of a batch, A an action's numbers.
"""

import math

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.policy import LOG_STD_MAX, LOG_STD_MIN
from graspfleet.learner.sac.numba.kernels import Floats, compiled

LOG_2 = np.float32(math.log(2))


@compiled
def squash(head: Floats, noise: Floats, action: Floats, log_prob: Floats) -> None:
    """Write a sampled action [B, A] and its log-probability [B]; see `learner.sac.networks.squash`.

    Args:
        head: [B, 2 A], mean and unclipped log_std.
        noise: [B, A], standard normal.
        action: [B, A], written.
        log_prob: [B], written, nats.
    """
    size = noise.shape[1]
    for b in range(noise.shape[0]):
        total = np.float32(0)
        for a in range(size):
            log_std = min(max(head[b, size + a], np.float32(LOG_STD_MIN)), np.float32(LOG_STD_MAX))
            u = head[b, a] + math.exp(log_std) * noise[b, a]
            # Two exponentials and a logarithm are most of the time here; tanh and log1p would double it.
            far = abs(u)
            decay = math.exp(np.float32(-2) * far)
            action[b, a] = math.copysign((np.float32(1) - decay) / (np.float32(1) + decay), u)
            # log(1 - tanh(u)^2) = 2 (log 2 - |u| - log(1 + exp(-2 |u|))), without cancellation
            slope = np.float32(2) * (LOG_2 - far - math.log(np.float32(1) + decay))
            total -= np.float32(0.5) * noise[b, a] * noise[b, a] + log_std + slope
        log_prob[b] = total - np.float32(0.5 * math.log(2 * math.pi)) * size


@compiled
def td_error(
    reward: Floats,
    discount: Floats,
    terminated: NDArray[np.bool_],
    next_q: Floats,
    subset: NDArray[np.intp],
    next_log_prob: Floats,
    temperature: float,
    q: Floats,
    error: Floats,
) -> None:
    """Write how far the critics' values are from the target; see `learner.sac.losses.td_target`.

    Args:
        reward: [B], scaled.
        discount: [B].
        terminated: [B].
        next_q: [N, B, 1], the target critics'.
        subset: [M], the critics whose least value counts.
        next_log_prob: [B], nats.
        temperature: reward per nat.
        q: [N, B, 1], the critics'.
        error: [N, B, 1], written: q - target.
    """
    for b in range(len(reward)):
        target = reward[b]
        if not terminated[b]:
            least = next_q[subset[0], b, 0]
            for i in subset[1:]:
                least = np.minimum(least, next_q[i, b, 0])  # NaN if either is
            value = least - np.float32(temperature) * next_log_prob[b]
            target += discount[b] * value
        for n in range(len(q)):
            error[n, b, 0] = q[n, b, 0] - target


@compiled
def squash_backward(
    head: Floats, noise: Floats, action: Floats, d_q: Floats, temperature: float, d_head: Floats
) -> None:
    """Write the gradient of the policy's loss in `head`.

    With u = mean + std * noise, a = tanh(u): d log pi / du = 2 a, da / du = 1 - a^2, du / d log_std = std *
    noise, and log pi holds -log_std. A clipped log_std has no gradient.

    Args:
        head: [B, 2 A], as given to `squash`.
        noise: [B, A], as given to `squash`.
        action: [B, A], as written by it.
        d_q: [B, A], gradient of the mean of the critics' value in the action.
        temperature: reward per nat.
        d_head: [B, 2 A], written.
    """
    rows, size = action.shape
    share = np.float32(temperature) / np.float32(rows)
    for b in range(rows):
        for a in range(size):
            value = action[b, a]
            d_u = np.float32(2) * share * value - d_q[b, a] * (np.float32(1) - value * value)
            d_head[b, a] = d_u
            log_std = head[b, size + a]
            inside = LOG_STD_MIN <= log_std <= LOG_STD_MAX
            d_head[b, size + a] = d_u * math.exp(log_std) * noise[b, a] - share if inside else np.float32(0)


@compiled
def adam(
    values: Floats,
    gradient: Floats,
    first: Floats,
    second: Floats,
    step: float,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Take the `step`-th step of Adam (Kingma and Ba 2015, algorithm 1); all arrays are [N]."""
    size = np.float32(learning_rate / (1 - betas[0] ** step))
    root = np.float32(1 / math.sqrt(1 - betas[1] ** step))
    b_1, b_2, e = np.float32(betas[0]), np.float32(betas[1]), np.float32(epsilon)
    c_1, c_2 = np.float32(1 - betas[0]), np.float32(1 - betas[1])
    for i in range(len(values)):
        g = gradient[i]
        m = b_1 * first[i] + c_1 * g
        v = b_2 * second[i] + c_2 * g * g
        first[i] = m
        second[i] = v
        values[i] -= size * m / (np.sqrt(v) * root + e)


@compiled
def polyak_update(target: Floats, values: Floats, tau: float) -> None:
    """Move a target network: target <- target + tau * (values - target), [N] each."""
    share = np.float32(tau)
    for i in range(len(target)):
        target[i] += share * (values[i] - target[i])
