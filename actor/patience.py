"""Limits of consecutive broken episodes, at which the environment counts as unusable."""

import logging
import time
from collections.abc import Callable

from graspfleet.common.errors import BrokenEpisodeError, ConfigError

log = logging.getLogger(__name__)

MAX_BROKEN_STARTS = 20
"""Limit of consecutive episodes that break before their first step completes; their pauses total 14 s."""
MAX_BROKEN_IN_ROW = 64
"""Limit of consecutive episodes that break before `SOUND_STEPS`; out of reach even if two of three break."""
SOUND_STEPS = 1000
"""Env steps after which a broken episode resets the count."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 1.0
"""First and longest pause after an error before an episode's first step completes, seconds; it doubles."""


class Patience:
    """Counts broken episodes, logs some of them, and gives up after too many in a row.

    Args:
        name: of the environment.
        pause: sleeps for some seconds.

    Attributes:
        broken: number of broken episodes so far.
        last: error of the newest one; None before the first.
    """

    def __init__(self, name: str, pause: Callable[[float], None] = time.sleep) -> None:
        self.broken = 0
        self.last: BrokenEpisodeError | None = None
        self._name = name
        self._pause = pause
        self._in_row = 0
        self._starts_in_row = 0

    def whole(self) -> None:
        """Note a complete episode."""
        self._in_row = self._starts_in_row = 0

    def broke(self, error: BrokenEpisodeError, steps: int, *, bounded: bool = True) -> None:
        """Note a broken episode, and pause if an error prevented its first step.

        Args:
            error: the reason.
            steps: valid env steps of the episode.
            bounded: apply `MAX_BROKEN_IN_ROW` too.

        Raises:
            ConfigError: too many episodes in a row broke.
        """
        self.broken += 1
        self.last = error
        if self.broken & (self.broken - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...: the log stays small
            log.warning("broken episode %d, discarded after %d steps: %s", self.broken, steps, error)
        self._in_row = 0 if steps >= SOUND_STEPS else self._in_row + 1
        self._starts_in_row = 0 if steps else self._starts_in_row + 1
        most = MAX_BROKEN_IN_ROW if bounded and self._in_row >= MAX_BROKEN_IN_ROW else MAX_BROKEN_STARTS
        if most == MAX_BROKEN_IN_ROW or self._starts_in_row >= MAX_BROKEN_STARTS:
            raise ConfigError(f"--env {self._name}: {most} episodes in a row broke; last error: {error}")
        if not steps and error.__cause__ is not None:  # a pause cannot fix an invalid number
            self._pause(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._starts_in_row - 1)))
