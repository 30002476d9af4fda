"""Who waits for whom: Reverb's samples-per-insert rule as a small pure object."""

import math
from typing import Any

from common.errors import ConfigError


class RateLimiter:
    """Keeps `samples` within a band around `samples_per_insert * inserts`.

    deficit = samples_per_insert * (inserts - min_inserts) - samples

    Sampling waits while deficit < -tolerance, inserting while deficit > +tolerance. Neither counts
    before `min_inserts` transitions are there: until then only inserting goes on.

    Args:
        samples_per_insert: target ratio; None lets both sides run free after `min_inserts`.
        min_inserts: transitions before the first sample.
        tolerance: half the band, in samples.
        batch_size: samples that one update takes.

    Raises:
        ConfigError: the band is narrower than one batch, so both sides could wait for each other.

    Source: Cassirer et al. 2021, Reverb, section 3.4.
    """

    def __init__(
        self, *, samples_per_insert: float | None, min_inserts: int, tolerance: float, batch_size: int
    ) -> None:
        if samples_per_insert is not None and 2 * tolerance < batch_size:
            least = math.ceil(batch_size / (2 * samples_per_insert))
            given = f"{tolerance / samples_per_insert:g}"
            raise ConfigError(
                f"--rate-tolerance-n {given}: allowed is at least {least}"
                f" (half of --batch-size {batch_size} over {samples_per_insert:g} samples per insert)"
            )
        self.samples_per_insert = samples_per_insert
        self.min_inserts = max(1, min_inserts)
        self.tolerance = tolerance
        self.batch_size = batch_size
        self.inserts = 0
        self.samples = 0

    @property
    def deficit(self) -> float:
        """Samples owed for what has been inserted; 0 when both sides run free."""
        if self.samples_per_insert is None:
            return 0.0
        return self.samples_per_insert * (self.inserts - self.min_inserts) - self.samples

    def may_sample(self) -> bool:
        """Whether an update may run now."""
        return self.inserts >= self.min_inserts and self.deficit >= -self.tolerance

    def may_insert(self) -> bool:
        """Whether transitions may be taken in now."""
        return self.inserts < self.min_inserts or self.deficit <= self.tolerance

    def inserted(self, count: int) -> None:
        """Account for `count` transitions."""
        self.inserts += count

    def sampled(self) -> None:
        """Account for one batch."""
        self.samples += self.batch_size

    def state_dict(self) -> dict[str, Any]:
        """Return the two counters, and the ratio that they were kept at."""
        ratio = self.samples_per_insert
        return {"inserts": self.inserts, "samples": self.samples, "samples_per_insert": ratio}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; under another ratio than before, without debts of the old one."""
        self.inserts, self.samples = state["inserts"], state["samples"]
        if self.samples_per_insert != state["samples_per_insert"]:
            self.samples += round(self.deficit)
