"""A periodic deadline."""

import time


class Interval:
    """A deadline that restarts whenever a check finds it passed.

    Args:
        seconds: period; the first check is always due.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due_s = float("-inf")

    def due(self, now_s: float) -> bool:
        """Return whether the deadline has passed; if so, restart it.

        Args:
            now_s: monotonic time, seconds.
        """
        if now_s < self._due_s:
            return False
        self.restart(now_s)
        return True

    def restart(self, now_s: float) -> None:
        """Move the deadline to one period from now."""
        self._due_s = now_s + self._seconds

    def due_now(self) -> bool:
        """Return `due` at the current time."""
        return self.due(time.monotonic())
