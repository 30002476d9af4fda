"""Soft Actor-Critic: its settings, metrics, memory and back ends; a `learner.algorithm.Definition`.

Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications (arXiv 1812.05905).
"""

from graspfleet.common.errors import ConfigError
from graspfleet.common.observations.encoder import encoder_outputs, encoder_shapes
from graspfleet.common.policy import policy_bytes
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.algorithm import Algorithm, Memory
from graspfleet.learner.reporting.metric import Metric
from graspfleet.learner.sac.settings import SACConfig as Settings

__all__ = ["METRICS", "Settings", "build", "memory", "updates_per_dispatch"]

METRICS = {
    "critic_loss": Metric(
        "reward²",
        "Σᵢ ½ (Qᵢ(s, a) − y)², y = r + d (1 − T) (minᵢ Q̄ᵢ(s′, a′) − α log π(a′|s′)), i over all critics or"
        " `--critic-subset` of them",
    ),
    "policy_loss": Metric(
        "reward", "α log π(a|s) − minᵢ Qᵢ(s, a), a ~ π(·|s); with `--critic-subset`, the mean over i"
    ),
    "temperature_loss": Metric("reward", "−α (log π(a|s) + target entropy)"),
    "temperature": Metric("reward/nat", "α"),
    "entropy": Metric("nats", "−log π(a|s)"),
    "q_mean": Metric("reward", "Qᵢ(s, a), mean over all critics"),
}

POLICIES = 5
"""Copies of a policy: weights, gradient, two moments of Adam, moving average."""
CRITICS = 5
"""Copies of each critic: weights, gradient, two moments of Adam, target."""
BATCHES = 6
"""Copies of a batch: as sampled, as input of each network, and the gradients of the inputs."""
FLOAT_BYTES = 4
OUTPUTS = 4
"""Copies of an image's pixels and of the encoder's outputs: of both observations, with gradients."""


def memory(settings: Settings, spec: EnvSpec, batch_size: int) -> Memory:
    """Return the size of the networks and of the arrays of one update.

    Raises:
        ConfigError: the encoder's layers are too large for the images.
    """
    hidden = settings.hidden_dim
    try:
        encoder = encoder_shapes(spec, settings.layers, settings.latent_dim) if spec.images else None
    except ValueError as error:
        raise ConfigError(f"--encoder-layers {' '.join(settings.encoder_layers)}: {error}") from None
    policy = policy_bytes(spec, hidden, encoder)
    latent_dim = settings.latent_dim if spec.images else 0
    critic = FLOAT_BYTES * hidden * (spec.obs_dim + latent_dim + spec.action_dim + hidden + 3)
    pixels = FLOAT_BYTES * OUTPUTS * (spec.frame_bytes + encoder_outputs(spec, settings.layers))
    batch = batch_size * (spec.sample.itemsize + pixels + settings.num_critics * FLOAT_BYTES * hidden)
    published = (1 if settings.ema_tau == 1 else 2) * policy
    name = f"the policy (--hidden-dim {hidden}{', --encoder-layers, --latent-dim' if spec.images else ''})"
    networks = POLICIES * published + CRITICS * settings.num_critics * critic
    return Memory(networks + BATCHES * batch, published, name)


def updates_per_dispatch(settings: Settings, learner: LearnerConfig) -> int:
    """Return the number of updates per call on this machine.

    Raises:
        ConfigError: the requested device or precision is not available.
    """
    if learner.device == "cpu" and settings.precision != "bf16":  # always available; avoids importing torch
        return learner.updates_per_dispatch or 1
    from graspfleet.learner.sac.backends import require_possible, updates_per_dispatch

    require_possible(settings, learner)
    return updates_per_dispatch(learner)


def build(
    settings: Settings, spec: EnvSpec, learner: LearnerConfig, *, batch_size: int, seed: int
) -> Algorithm:
    """Return the fastest implementation for this machine; see `learner.algorithm.Definition`."""
    from graspfleet.learner.sac.backends import choose_backend

    return choose_backend(settings, spec, learner, batch_size=batch_size, seed=seed)
