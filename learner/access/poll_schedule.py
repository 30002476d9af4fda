"""PollSchedule at many things, in turn and again and again, for a small share of a processor."""

import time

LOOKING_SHARE = 0.1
"""Of one processor that looks may take; with many connections the pauses are longer."""


class PollSchedule:
    """PollSchedule at connections, again and again, in a small share of the time.

    Args:
        pause_s: between two of them at the least.

    Attributes:
        pause_s: before the next one.
    """

    def __init__(self, pause_s: float) -> None:
        self.pause_s = self._least_s = pause_s
        self._began_cpu_s = self._due_s = 0.0

    def due(self) -> bool:
        """Return whether it is time for the next look; it begins now."""
        self._began_cpu_s = time.thread_time()
        return time.monotonic() >= self._due_s

    def done(self) -> None:
        """Note that the look is over."""
        took_s = time.thread_time() - self._began_cpu_s
        self.pause_s = max(self._least_s, took_s / LOOKING_SHARE)
        self._due_s = time.monotonic() + self.pause_s
