"""CrossQ: its settings, metrics and memory; a `learner.algorithm.Definition`.

Source: Bhatt et al. 2024, CrossQ: Batch Normalization in Deep Reinforcement Learning for Greater Sample
Efficiency and Simplicity (arXiv 1902.05605).
"""

from graspfleet.common.errors import ConfigError
from graspfleet.common.policy import policy_bytes
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.algorithm import Algorithm, Memory
from graspfleet.learner.crossq.settings import CrossQConfig as Settings
from graspfleet.learner.reporting.metric import Metric

__all__ = ["METRICS", "Settings", "build", "memory", "updates_per_dispatch"]

METRICS = {
    "critic_loss": Metric(
        "reward²",
        "Σᵢ ½ (Qᵢ(s, a) − y)², y = r + d (1 − T) (minᵢ Qᵢ(s′, a′) − α log π(a′|s′)), with "
        "both Q from one pass over (s, a) and (s′, a′) together",
    ),
    "policy_loss": Metric(
        "reward", "α log π(a|s) − minᵢ Qᵢ(s, a), a ~ π(·|s), every `--policy-delay` updates"
    ),
    "temperature_loss": Metric("reward", "−α (log π(a|s) + target entropy), every `--policy-delay` updates"),
    "temperature": Metric("reward/nat", "α"),
    "entropy": Metric("nats", "−log π(a|s), every `--policy-delay` updates"),
    "q_mean": Metric("reward", "Qᵢ(s, a), mean over all critics"),
}

COPIES = 4
"""Copies of each network: weights, gradient, two moments of Adam."""
LAYERS = 12
"""Copies of the batch per hidden layer of the critics: both halves, with autograd's saved tensors."""
FLOAT_BYTES = 4


def memory(settings: Settings, spec: EnvSpec, batch_size: int) -> Memory:
    """Return the size of the networks and of the arrays of one update.

    Raises:
        ConfigError: CrossQ cannot learn from such observations.
    """
    if spec.images or spec.policy_dim < spec.obs_dim:
        raise ConfigError("--algorithm crossq: no images and no --privileged-obs; allowed: sac")
    policy, width = policy_bytes(spec, settings.hidden_dim), settings.critic_dim
    critic = FLOAT_BYTES * width * (spec.obs_dim + spec.action_dim + width + 10)
    batch = batch_size * (spec.record.itemsize + LAYERS * settings.num_critics * FLOAT_BYTES * width)
    networks = COPIES * (policy + settings.num_critics * critic)
    return Memory(networks + batch, policy, f"the policy (--hidden-dim {settings.hidden_dim})")


def updates_per_dispatch(settings: Settings, learner: LearnerConfig) -> int:
    """Return the number of updates per call.

    Raises:
        ConfigError: `--device cuda` was given and there is no GPU.
    """
    if learner.device != "cpu":
        from graspfleet.learner.numerics.device import on_gpu

        on_gpu(learner)
    return learner.updates_per_dispatch or 1


def build(
    settings: Settings, spec: EnvSpec, learner: LearnerConfig, *, batch_size: int, seed: int
) -> Algorithm:
    """Return CrossQ in its initial state; see `learner.algorithm.Definition`."""
    import torch

    from graspfleet.learner.crossq.agent import CrossQ
    from graspfleet.learner.numerics.device import on_gpu

    torch.set_num_threads(learner.learner_threads)
    return CrossQ(spec, settings, seed=seed, device="cuda" if on_gpu(learner) else "cpu")
