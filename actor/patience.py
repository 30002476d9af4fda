"""How often an environment may break before it is the environment that is broken."""

import logging
import time
from collections.abc import Callable

from common.errors import BrokenEpisodeError, ConfigError

log = logging.getLogger(__name__)

MAX_BROKEN_STARTS = 20
"""Episodes in a row that break before their first step is done; their pauses add up to 14 s."""
MAX_BROKEN_IN_ROW = 64
"""Episodes in a row that break before `SOUND_STEPS`; never by chance, though two of three break."""
SOUND_STEPS = 1000
"""An episode that lasted so many env steps does not count as one in a row, though it broke at last."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.01, 1.0
"""Pause after an error before an episode's first step is done; it doubles."""


class Patience:
    """Counts the episodes that break, says so in few lines, and gives up when nothing else happens.

    Args:
        name: of the environment.
        pause: how to wait for some seconds.

    Attributes:
        broken: episodes so far.
        last: what broke the newest of them; None before the first.
    """

    def __init__(self, name: str, pause: Callable[[float], None] = time.sleep) -> None:
        self.broken = 0
        self.last: BrokenEpisodeError | None = None
        self._name = name
        self._pause = pause
        self._in_row = 0
        self._starts_in_row = 0

    def whole(self) -> None:
        """Note that an episode came to its own end."""
        self._in_row = self._starts_in_row = 0

    def broke(self, error: BrokenEpisodeError, steps: int, *, bounded: bool = True) -> None:
        """Note that an episode broke after `steps`, and pause if an error kept it from beginning.

        Args:
            error: what broke it.
            steps: env steps of it that were sound.
            bounded: whether episodes that broke later than at their first step may be too many as well.

        Raises:
            ConfigError: too many in a row.
        """
        self.broken += 1
        self.last = error
        if self.broken & (self.broken - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...: the log stays small
            log.warning("broken episode %d, discarded after %d steps: %s", self.broken, steps, error)
        self._in_row = 0 if steps >= SOUND_STEPS else self._in_row + 1
        self._starts_in_row = 0 if steps else self._starts_in_row + 1
        most = MAX_BROKEN_IN_ROW if bounded and self._in_row >= MAX_BROKEN_IN_ROW else MAX_BROKEN_STARTS
        if most == MAX_BROKEN_IN_ROW or self._starts_in_row >= MAX_BROKEN_STARTS:
            raise ConfigError(f"--env {self._name}: {most} episodes in a row broke; the last: {error}")
        if not steps and error.__cause__ is not None:  # a wrong number is no passing fault
            self._pause(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._starts_in_row - 1)))
