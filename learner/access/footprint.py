"""Memory and disk footprint of a run, from the actors' spec and the operator's limits."""

import re

from graspfleet.common.errors import ConfigError
from graspfleet.common.fields import MAX_ROWS
from graspfleet.common.messages.sizes import require_fit
from graspfleet.common.settings.config import AMOUNT
from graspfleet.common.settings.flags import LearnerFlags
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.algorithm import Memory, definition
from graspfleet.learner.experience.replay import FRAMES_PER_TRANSITION, frame_capacity
from graspfleet.learner.publishing.published_frames import KEPT_BYTES

DISPATCH_MAX = 16
"""Largest number of batches per dispatch if the flags leave it to the learner."""
DEFAULT_CAPACITY, DEFAULT_SHARE = 1_000_000, 0.75
"""Default capacity in transitions, and the largest default as a share of `--max-run-bytes`."""
UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def transitions_of(amount: str | None, spec: EnvSpec, max_run_bytes: int) -> int:
    """Return the capacity that a run's `--replay-capacity` asks for, in transitions.

    Args:
        amount: value of the flag.
        spec: layout of a transition.
        max_run_bytes: value of `--max-run-bytes`, which limits the default.

    Raises:
        ConfigError: it is too small for one transition.
    """
    fitting = _fitting(spec, int(DEFAULT_SHARE * max_run_bytes))
    if amount is None:
        return max(1, min(DEFAULT_CAPACITY, fitting))
    number, unit = re.fullmatch(AMOUNT, amount).groups()  # type: ignore[union-attr]
    if not unit:
        return int(number)
    capacity = _fitting(spec, int(number) * UNITS[unit])
    if capacity < 1:
        raise ConfigError(
            f"--replay-capacity {amount}: allowed: at least {replay_bytes(spec, 1):,} bytes, for one"
            " transition and the room of one batch"
        )
    return capacity


def _fitting(spec: EnvSpec, size_bytes: int) -> int:
    """Return the largest capacity whose files fit in this size; 0 or less for none."""
    fixed = replay_bytes(spec, 0)
    return int((size_bytes - fixed) / (spec.record.itemsize + FRAMES_PER_TRANSITION * spec.frame_bytes))


def replay_bytes(spec: EnvSpec, capacity: int) -> int:
    """Return the size of a replay on disk."""
    frames = frame_capacity(capacity) + spec.max_batch_frames
    return spec.record.itemsize * (capacity + MAX_ROWS) + spec.frame_bytes * frames


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
