"""Who waits for whom: Reverb's samples-per-insert rule as a small pure object."""

import math
from typing import Any

from common.errors import ConfigError
from common.flags import LearnerFlags


class RateLimiter:
    """Keeps `samples` within a band around `samples_per_insert * inserts`.

    deficit = samples_per_insert * (inserts - min_inserts) - samples

    Sampling waits while deficit < -tolerance, inserting while deficit > +tolerance. Neither counts
    before `min_inserts` transitions are there: until then only inserting goes on.

    Args:
        samples_per_insert: target ratio; None lets both sides run free after `min_inserts`.
        min_inserts: transitions before the first sample.
        tolerance: half the band, in samples.
        batch_size: transitions of one update.
        updates_n: updates taken in one go.

    Raises:
        ConfigError: the band is narrower than what is sampled in one go, so both sides could wait for each
            other.

    Source: Cassirer et al. 2021, Reverb, section 3.4.
    """

    def __init__(
        self,
        *,
        samples_per_insert: float | None,
        min_inserts: int,
        tolerance: float,
        batch_size: int,
        updates_n: int = 1,
    ) -> None:
        at_once = batch_size * updates_n
        if samples_per_insert is not None and 2 * tolerance < at_once:
            least = math.ceil(at_once / (2 * samples_per_insert))
            given = f"{tolerance / samples_per_insert:g}"
            together = f" times --updates-per-dispatch {updates_n}" if updates_n > 1 else ""
            raise ConfigError(
                f"--rate-tolerance-n {given}: allowed is at least {least} (half of --batch-size"
                f" {batch_size}{together} over {samples_per_insert:g} samples per insert)"
            )
        self.samples_per_insert = samples_per_insert
        self.min_inserts = max(1, min_inserts)
        self.tolerance = tolerance
        self.at_once = at_once
        self.inserts = 0
        self.samples = 0

    @property
    def deficit(self) -> float:
        """Samples owed for what has been inserted; 0 when both sides run free."""
        if self.samples_per_insert is None:
            return 0.0
        return self.samples_per_insert * (self.inserts - self.min_inserts) - self.samples

    def may_sample(self) -> bool:
        """Whether updates may run now."""
        return self.inserts >= self.min_inserts and self.deficit >= -self.tolerance

    def may_insert(self) -> bool:
        """Whether transitions may be taken in now."""
        return self.inserts < self.min_inserts or self.deficit <= self.tolerance

    def inserted(self, count: int) -> None:
        """Account for `count` transitions."""
        self.inserts += count

    def sampled(self) -> None:
        """Account for what is sampled in one go."""
        self.samples += self.at_once

    def state_dict(self) -> dict[str, Any]:
        """Return the two counters, and the ratio that they were kept at."""
        ratio = self.samples_per_insert
        return {"inserts": self.inserts, "samples": self.samples, "samples_per_insert": ratio}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; under another ratio than before, without debts of the old one."""
        self.inserts, self.samples = state["inserts"], state["samples"]
        if self.samples_per_insert != state["samples_per_insert"]:
            self.samples += round(self.deficit)


def make_limiter(flags: LearnerFlags, updates_n: int) -> RateLimiter:
    """Return the rate limiter that the flags ask for.

    Args:
        flags: settings.
        updates_n: updates taken in one go.

    Raises:
        ConfigError: its band is too narrow, or less than one transition may be kept.
    """
    rate, batch_size = flags.rate, flags.sac.batch_size
    ratio = rate.samples_per_insert
    if rate.updates_per_step is not None:
        ratio = rate.updates_per_step * batch_size
    if flags.learner.explore_steps > flags.learner.total_env_steps:
        raise ConfigError(
            f"--explore-steps {flags.learner.explore_steps}: allowed is at most"
            f" --total-env-steps {flags.learner.total_env_steps}"
        )
    return RateLimiter(
        samples_per_insert=ratio,
        min_inserts=flags.learner.explore_steps,
        tolerance=rate.rate_tolerance_n * (ratio or 0.0),
        batch_size=batch_size,
        updates_n=updates_n,
    )
