"""What a run will take: actors say how large a transition is, the operator says how much that may cost."""

from common.config import SACConfig
from common.envelope import require_fit
from common.errors import ConfigError
from common.flags import LearnerFlags
from common.messages import MAX_ROWS
from common.policy import policy_bytes
from common.specs import EnvSpec
from learner.publishing.published_frames import KEPT_BYTES

POLICIES_N = 5
"""Copies of a policy: weights, gradient, two moments of Adam, average."""
CRITICS_N = 2 * 5
"""Copies of a critic: two of them, each with gradient, moments and target."""
BATCHES_N = 6
"""Copies of a batch: as sampled, as inputs of each network, and gradients of those."""
DISPATCH_MAX_N = 16
"""Batches of one dispatch where the flags leave their number to the learner."""
FLOAT_BYTES = 4


def run_bytes(flags: LearnerFlags, spec: EnvSpec) -> int:
    """Return the size of a run's replay, networks, batches and published policies, about."""
    record_bytes, sac = spec.record.itemsize, flags.sac
    replay_bytes = record_bytes * (flags.replay.replay_capacity + MAX_ROWS)
    batches_n = flags.learner.updates_per_dispatch or DISPATCH_MAX_N
    batch_bytes = sac.batch_size * (record_bytes + 2 * FLOAT_BYTES * sac.hidden_dim)
    published = published_bytes(sac, spec)
    inputs_n = spec.obs_dim + spec.action_dim
    critic_bytes = FLOAT_BYTES * sac.hidden_dim * (inputs_n + sac.hidden_dim + 3)
    networks_bytes = POLICIES_N * published + CRITICS_N * critic_bytes
    # Each published policy is encoded, and copied for those who are slow to take it.
    kept_bytes = max(KEPT_BYTES, 2 * published)
    return replay_bytes + networks_bytes + (batches_n + BATCHES_N) * batch_bytes + kept_bytes


def require_room(flags: LearnerFlags, spec: EnvSpec) -> None:
    """Refuse a spec by which a run would take too much, or its policy would not fit a message.

    Raises:
        ConfigError: it would, or would not.
    """
    needed, allowed = run_bytes(flags, spec), flags.learner.max_run_bytes
    if needed > allowed:
        raise ConfigError(
            f"--max-run-bytes {allowed}: {spec.obs_dim} observations and {spec.action_dim} actions need"
            f" {needed} for the replay (--replay-capacity {flags.replay.replay_capacity}) and the networks;"
            " allowed: smaller ones, or that many bytes"
        )
    policy = f"the policy (--hidden-dim {flags.sac.hidden_dim})"
    require_fit(flags.transport, published_bytes(flags.sac, spec), policy)


def published_bytes(sac: SACConfig, spec: EnvSpec) -> int:
    """Return the size of what is published: the policy, and its average if one is kept."""
    return (1 if sac.ema_tau == 1 else 2) * policy_bytes(spec, sac.hidden_dim)
