"""Something that is due every so often."""

import time


class Interval:
    """A deadline that moves on each time it is met.

    Args:
        seconds: from one due time to the next; the first look is due at once.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due_s = float("-inf")

    def due(self, now_s: float) -> bool:
        """Return whether the time has come, and if so start waiting for the next one.

        Args:
            now_s: monotonic time, seconds.
        """
        if now_s < self._due_s:
            return False
        self.restart(now_s)
        return True

    def restart(self, now_s: float) -> None:
        """Put the next due time off to a whole interval from now."""
        self._due_s = now_s + self._seconds

    def due_now(self) -> bool:
        """Return `due` of the present moment."""
        return self.due(time.monotonic())
