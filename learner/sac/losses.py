"""The losses of Soft Actor-Critic as pure functions with their equations.

In: values, log-probabilities and rewards as tensors. Out: targets and scalar losses. Must not know:
networks, optimizers, batches.

Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications (arXiv 1812.05905).
"""

from torch import Tensor


def _check_batch(*vectors: Tensor, q: Tensor | None = None) -> None:
    """Require [B] vectors and [N, B] values with the same B; [B, 1] with [B] would broadcast silently."""
    shape = vectors[0].shape
    if len(shape) != 1 or any(vector.shape != shape for vector in vectors):
        raise ValueError(f"expected one [B] for all, not {[list(vector.shape) for vector in vectors]}")
    if q is not None and (q.dim() != 2 or q.shape[1:] != shape):
        raise ValueError(f"expected values [N, {shape[0]}], not {list(q.shape)}")


def td_target(
    reward: Tensor,
    terminated: Tensor,
    next_q: Tensor,
    next_log_prob: Tensor,
    *,
    discount: Tensor,
    temperature: Tensor,
) -> Tensor:
    """Return the entropy-regularized n-step Bellman target.

    y = r + discount * (1 - terminated) * (min_i Q_i(s', a') - temperature * log pi(a'|s'))

    Args:
        reward: [B] float32, already scaled and summed over the n steps.
        terminated: [B] bool; a time limit is not a terminal state and still bootstraps.
        next_q: [N, B] float32, target critics at (s', a'), a' ~ pi(.|s'); all of them or a subset (REDQ).
        next_log_prob: [B] float32, nats, after the tanh correction.
        discount: [B] float32, gamma**n of each transition, in [0, 1].
        temperature: scalar, reward per nat.

    Returns:
        [B] float32, detached.

    Raises:
        ValueError: batch sizes differ ([B, 1] with [B] would broadcast silently).

    Source: arXiv 1812.05905, equations 3 and 5; the minimum from Fujimoto et al. 2018, TD3,
    of a random subset from Chen et al. 2021, REDQ (arXiv 2101.05982), equation 1.
    """
    _check_batch(reward, terminated, next_log_prob, discount, q=next_q)
    soft_value = next_q.amin(dim=0) - temperature * next_log_prob
    return (reward + discount * ~terminated * soft_value).detach()


def critic_loss(q: Tensor, target: Tensor) -> Tensor:
    """Return the squared Bellman error, summed over the critics.

    J_Q = sum_i mean_B 1/2 * (Q_i(s, a) - y)^2

    Args:
        q: [N, B] float32, critics at the stored (s, a).
        target: [B] float32, y of `td_target`.

    Returns:
        Scalar, reward squared.

    Raises:
        ValueError: batch sizes differ.

    Source: arXiv 1812.05905, equation 5.
    """
    _check_batch(target, q=q)
    return 0.5 * (q - target).square().mean(dim=1).sum()


def policy_loss(log_prob: Tensor, q: Tensor, temperature: Tensor, *, take_mean: bool = False) -> Tensor:
    """Return the policy's loss; its gradient passes through the action into q.

    J_pi = mean_B (temperature * log pi(a|s) - min_i Q_i(s, a)),  a ~ pi(.|s) reparameterized

    Args:
        log_prob: [B] float32, nats.
        q: [N, B] float32, critics at (s, a).
        temperature: scalar, detached, reward per nat.
        take_mean: use the critics' mean instead of their minimum.

    Returns:
        Scalar, reward.

    Raises:
        ValueError: batch sizes differ.

    Source: arXiv 1812.05905, equations 7 and 9; the mean from arXiv 2101.05982, algorithm 1.
    """
    _check_batch(log_prob, q=q)
    value = q.mean(dim=0) if take_mean else q.amin(dim=0)
    return (temperature * log_prob - value).mean()


def temperature_loss(log_temperature: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """Return the temperature's loss in the paper's form, which raises alpha while the entropy is too low.

    J(alpha) = mean_B -alpha * (log pi(a|s) + target_entropy),  alpha = exp(log_temperature)

    Args:
        log_temperature: scalar parameter; its exponential stays positive.
        log_prob: [B] float32, nats; no gradient flows into it.
        target_entropy: nats.

    Returns:
        Scalar, reward.

    Raises:
        ValueError: log_prob is not [B].

    Source: arXiv 1812.05905, equation 18. (Some implementations use log alpha in place of the factor alpha.)
    """
    _check_batch(log_prob)
    return -log_temperature.exp() * (log_prob.detach().mean() + target_entropy)
