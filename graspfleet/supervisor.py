"""Restarts of child processes that die: with growing pauses, and up to a total number.

A death by a signal or a bug may be transient, unless several children in a row die before they make any
progress. A child that reported an error is not restarted, because it would report the same error again.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from graspfleet.children import Child
from graspfleet.common.errors import ConfigError, StorageError

FIRST_PAUSE_S = 0.5
"""Seconds before the first restart of a child; each further pause is twice as long."""
LONGEST_PAUSE_S = 20.0
"""Longest pause before a restart, seconds."""
STEADY_S = 60.0
"""Seconds of running after which a child's next pause is `FIRST_PAUSE_S` again."""
MAX_FRUITLESS = 3
"""Successive deaths without any progress after which a child is not restarted."""


@dataclass
class _Seat:
    """The newest child of a name, and the record of its predecessors."""

    child: Child
    again: Callable[[], Child]
    pause_s: float
    due_s: float | None = None
    fruitless: int = 0
    given_up: bool = False


class Supervisor:
    """Watches children and restarts those that have died.

    Args:
        max_restarts: limit of restarts of all children together.
        say: prints a line.

    Attributes:
        restarts: number of restarts so far.
    """

    def __init__(self, max_restarts: int, say: Callable[[str], None]) -> None:
        self.restarts = 0
        self._max_restarts = max_restarts
        self._say = say
        self._seats: dict[str, _Seat] = {}

    def start(
        self, name: str, make: Callable[[], Child], *, again: Callable[[], Child] | None = None
    ) -> None:
        """Start a child and watch it from now on.

        Args:
            name: of the child.
            make: starts it.
            again: restarts it; default: `make`.

        Raises:
            StorageError: the child cannot be started.
        """
        self._seats[name] = _Seat(make(), again or make, FIRST_PAUSE_S)

    def __contains__(self, name: str) -> bool:
        """Return whether a child of that name has been started."""
        return name in self._seats

    def child(self, name: str) -> Child:
        """Return the newest child of a name."""
        return self._seats[name].child

    def children(self) -> list[Child]:
        """Return the newest child of each name."""
        return [seat.child for seat in self._seats.values()]

    def is_over(self, name: str) -> bool:
        """Return whether a child has finished, or has died and will not be restarted."""
        seat = self._seats[name]
        return seat.given_up or seat.child.has_left

    def progressed(self, names: Iterable[str]) -> None:
        """Note that these children have made progress; names that were never started are ignored."""
        for name in self._seats.keys() & set(names):
            self._seats[name].fruitless = 0

    def is_fruitless(self, name: str) -> bool:
        """Return whether a child will not be restarted because it never made progress."""
        return self._seats[name].given_up and self._seats[name].fruitless >= MAX_FRUITLESS

    def has_given_up(self, name: str) -> bool:
        """Return whether a child has died and will not be restarted."""
        return self._seats[name].given_up

    def tend(self, names: Iterable[str] | None = None) -> None:
        """Restart the dead children whose pause is over; trim the log files of the others.

        Args:
            names: of the children; default: all.

        Raises:
            ConfigError: a child reported that the user's settings are wrong.
        """
        for seat in [self._seats[name] for name in names or self._seats]:
            if seat.child.status is None:
                seat.child.trim_log()
            elif not (seat.given_up or seat.child.has_left):
                self._replace(seat)

    def _replace(self, seat: _Seat) -> None:
        child, now_s = seat.child, time.monotonic()
        if seat.due_s is None:
            if child.error is not None:  # a restart would end with the same error
                if child.status == ConfigError.status:
                    raise ConfigError(child.error)
                self._give_up(seat, child.reason())
                return
            seat.fruitless += 1
            if seat.fruitless >= MAX_FRUITLESS:
                self._give_up(seat, f"{child.reason()}, {seat.fruitless} times in a row without any progress")
                return
            if now_s - child.started_s >= STEADY_S:
                seat.pause_s = FIRST_PAUSE_S
            self._wait(seat, child.reason())
        elif now_s >= seat.due_s:
            try:
                seat.child, seat.due_s = seat.again(), None
            except StorageError as error:
                self._wait(seat, str(error))

    def _wait(self, seat: _Seat, reason: str) -> None:
        """Schedule the restart of a child after its pause, if any restarts are left."""
        if self.restarts >= self._max_restarts:
            self._give_up(seat, f"not restarted (--max-restarts {self._max_restarts}): {reason}")
            return
        self.restarts += 1
        seat.due_s = time.monotonic() + seat.pause_s
        self._say(f"restart {self.restarts} of {self._max_restarts}: {reason}; in {seat.pause_s:g} s")
        seat.pause_s = min(2 * seat.pause_s, LONGEST_PAUSE_S)

    def _give_up(self, seat: _Seat, reason: str) -> None:
        seat.given_up = True
        self._say(reason)
