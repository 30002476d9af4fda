"""Memory and disk footprint of a run, from the actors' spec and the operator's limits."""

from graspfleet.common.errors import ConfigError
from graspfleet.common.messages.sizes import require_fit
from graspfleet.common.settings.flags import LearnerFlags
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.algorithm import Memory, definition
from graspfleet.learner.experience.replay import replay_bytes, transitions_of
from graspfleet.learner.publishing.published_frames import KEPT_BYTES

DISPATCH_MAX = 16
"""Largest number of batches per dispatch if the flags leave it to the learner."""


def run_bytes(flags: LearnerFlags, spec: EnvSpec) -> int:
    """Return the approximate size in bytes of a run's replay, networks, batches and published policies."""
    algorithm = _memory(flags, spec)
    capacity = transitions_of(flags.replay.replay_capacity, spec, flags.learner.max_run_bytes)
    stored_bytes = replay_bytes(spec, capacity)
    num_batches = flags.learner.updates_per_dispatch or DISPATCH_MAX
    batch_bytes = num_batches * flags.replay.batch_size * spec.sample.itemsize
    # Each published policy is encoded, and copied for slow subscribers.
    kept_bytes = max(KEPT_BYTES, 2 * algorithm.published)
    return stored_bytes + algorithm.held + batch_bytes + kept_bytes


def _memory(flags: LearnerFlags, spec: EnvSpec) -> Memory:
    return definition(flags.algorithm.algorithm).memory(flags.algorithm, spec, flags.replay.batch_size)


def require_room(flags: LearnerFlags, spec: EnvSpec) -> None:
    """Refuse a spec whose run would need too many bytes, or whose policy would not fit in a message.

    Raises:
        ConfigError: the spec is too large.
    """
    needed, allowed = run_bytes(flags, spec), flags.learner.max_run_bytes
    if needed > allowed:
        capacity = transitions_of(flags.replay.replay_capacity, spec, allowed)
        images = f", {spec.frame_bytes} bytes of images" if spec.images else ""
        raise ConfigError(
            f"--max-run-bytes {allowed}: {spec.obs_dim} observations{images} and {spec.action_dim} actions"
            f" need {needed} for the replay (--replay-capacity {capacity}) and the networks;"
            " allowed: smaller settings, or a --max-run-bytes of at least that"
        )
    algorithm = _memory(flags, spec)
    require_fit(flags.transport.max_message_bytes, algorithm.published, algorithm.policy)
