"""The rate limiter: Reverb's samples-per-insert rule as a pure object."""

import math
from collections.abc import Mapping
from typing import Any

from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.flags import LearnerFlags
from graspfleet.learner.reporting.metric import Metric

METRICS = {
    "samples_per_insert": Metric(
        "samples/transition",
        "B · `updates` / `env_steps`, as the rate limiter counts them",
    ),
}
"""Metrics that this part measures."""

IN_STEP_TOLERANCE = 4
"""Default number of transitions by which actors may be ahead or behind with --updates-per-step: small enough
that a policy acts a few env steps after it was learned."""
FREE_RUNNING_TOLERANCE = 100
"""Default with --samples-per-insert, where throughput matters more than staying in step."""


class RateLimiter:
    """Keeps `samples` within a band around `samples_per_insert * inserts`.

    deficit = samples_per_insert * (inserts - min_inserts) - samples

    An insert or a sample is allowed only if the deficit stays within ±tolerance afterwards. One that is
    larger than the band is allowed if the other side cannot proceed without it, so the two never deadlock.
    Before `min_inserts` transitions have been inserted, nothing is sampled and inserts are not limited.

    Args:
        samples_per_insert: target ratio; None leaves both sides unlimited after `min_inserts`.
        min_inserts: transitions before the first sample.
        tolerance: half-width of the band, in samples.
        batch_size: transitions per update.
        num_updates: updates per call.
        max_inserts: total number of transitions to insert; None for no limit.

    Source: Cassirer et al. 2021, Reverb, section 3.4.
    """

    def __init__(
        self,
        *,
        samples_per_insert: float | None,
        min_inserts: int,
        tolerance: float,
        batch_size: int,
        num_updates: int = 1,
        max_inserts: int | None = None,
    ) -> None:
        self.samples_per_insert = samples_per_insert
        self.min_inserts = max(1, min_inserts)
        self.max_inserts = math.inf if max_inserts is None else max_inserts
        self.tolerance = tolerance
        self.at_once = batch_size * num_updates
        self.env_steps = 0
        self.samples = 0

    @property
    def deficit(self) -> float:
        """Samples owed for the transitions inserted; 0 without a target ratio."""
        if self.samples_per_insert is None:
            return 0.0
        return self.samples_per_insert * (self.env_steps - self.min_inserts) - self.samples

    @property
    def done(self) -> bool:
        """True if all `max_inserts` transitions are inserted and all their updates are done."""
        return self.env_steps >= self.max_inserts and self.deficit < self.at_once

    def may_sample(self) -> bool:
        """True if the next updates may run now."""
        if self.env_steps < self.min_inserts:
            return False
        return self.samples_per_insert is None or self.deficit - self.at_once >= -self.tolerance

    def may_insert(self, count: int) -> bool:
        """Return whether `count` transitions may be inserted now."""
        if self.env_steps >= self.max_inserts:
            return False
        if self.samples_per_insert is None:
            return True
        return self.deficit + self.samples_per_insert * count <= self.tolerance or not self.may_sample()

    def room(self) -> float:
        """Return how many transitions may be inserted before the next update; infinity for no limit."""
        left = self.max_inserts - self.env_steps
        if self.samples_per_insert is None:
            return left
        until_full = self.tolerance - self.deficit
        until_sampling = self.at_once - self.tolerance - self.deficit
        return max(0, min(left, math.ceil(max(until_full, until_sampling) / self.samples_per_insert)))

    def metrics(self) -> Mapping[str, float]:
        """Return the ratio reached so far."""
        return {"samples_per_insert": self.samples / max(1, self.env_steps)}

    def inserted(self, count: int) -> None:
        """Count `count` inserted transitions."""
        self.env_steps += count

    def sampled(self) -> None:
        """Count the samples of one call of `num_updates` updates."""
        self.samples += self.at_once

    def state_dict(self) -> dict[str, Any]:
        """Return the two counters and the target ratio."""
        ratio = self.samples_per_insert
        return {"env_steps": self.env_steps, "samples": self.samples, "samples_per_insert": ratio}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from `state_dict()`; a changed target ratio starts with a deficit of 0."""
        self.env_steps, self.samples = state["env_steps"], state["samples"]
        if self.samples_per_insert != state["samples_per_insert"]:
            self.samples += round(self.deficit)


def make_limiter(flags: LearnerFlags, num_updates: int) -> RateLimiter:
    """Return the rate limiter that the flags ask for.

    Args:
        flags: settings.
        num_updates: updates per call.

    Raises:
        ConfigError: the run would end before the first update.
    """
    rate, batch_size = flags.rate, flags.replay.batch_size
    ratio = rate.samples_per_insert
    if rate.updates_per_step is not None:
        ratio = rate.updates_per_step * batch_size
    if flags.learner.explore_steps > flags.learner.total_env_steps:
        raise ConfigError(
            f"--explore-steps {flags.learner.explore_steps}: allowed: at most"
            f" --total-env-steps {flags.learner.total_env_steps}"
        )
    tolerance = rate.rate_tolerance or (
        FREE_RUNNING_TOLERANCE if rate.updates_per_step is None else IN_STEP_TOLERANCE
    )
    return RateLimiter(
        samples_per_insert=ratio,
        min_inserts=flags.learner.explore_steps,
        tolerance=tolerance * (ratio or 0.0),
        batch_size=batch_size,
        num_updates=num_updates,
        max_inserts=flags.learner.total_env_steps,
    )
