"""A schedule of repeated checks that limits their share of one processor."""

import time

LOOKING_SHARE = 0.1
"""Largest share of one processor's time spent on checks; with many connections, the pauses get longer."""


class PollSchedule:
    """Times of repeated checks of connections, bounded to `LOOKING_SHARE` of a processor.

    Args:
        pause_s: shortest pause between two checks, in seconds.

    Attributes:
        pause_s: pause before the next check, in seconds.
    """

    def __init__(self, pause_s: float) -> None:
        self.pause_s = self._least_s = pause_s
        self._began_cpu_s = self._due_s = 0.0

    def due(self) -> bool:
        """Return whether the next check is due; its CPU time counts from here."""
        self._began_cpu_s = time.thread_time()
        return time.monotonic() >= self._due_s

    def done(self) -> None:
        """Note that the check is over, and schedule the next one."""
        took_s = time.thread_time() - self._began_cpu_s
        self.pause_s = max(self._least_s, took_s / LOOKING_SHARE)
        self._due_s = time.monotonic() + self.pause_s
