"""Children that are started again when they die: with growing pauses, up to a number in all.

A death by a signal or a bug may be passing, but not if one child after the other dies before it has done
anything.
A child that ended with a line about what is wrong would only say it again.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from graspfleet.children import Child
from graspfleet.common.errors import ConfigError, StorageError

FIRST_PAUSE_S = 0.5
"""Before the first restart of a child."""
LONGEST_PAUSE_S = 20.0
"""Each further restart waits twice as long, up to this."""
STEADY_S = 60.0
"""A child that has run so long is well: its next pause is the first one again."""
MAX_FRUITLESS = 3
"""Children in a row that die before they have done anything; the next one would, too."""


@dataclass
class _Seat:
    """A child, and what is known of those that sat there before."""

    child: Child
    again: Callable[[], Child]
    pause_s: float
    due_s: float | None = None
    fruitless: int = 0
    given_up: bool = False


class Supervisor:
    """Watches children, and replaces those that died.

    Args:
        max_restarts: of all children together; afterwards the dead stay dead.
        say: prints a line.

    Attributes:
        restarts: children started again so far.
    """

    def __init__(self, max_restarts: int, say: Callable[[str], None]) -> None:
        self.restarts = 0
        self._max_restarts = max_restarts
        self._say = say
        self._seats: dict[str, _Seat] = {}

    def start(
        self, name: str, make: Callable[[], Child], *, again: Callable[[], Child] | None = None
    ) -> None:
        """Start a child and watch it from here on.

        Args:
            name: of the child.
            make: starts it.
            again: starts its successors; default: as `make`.

        Raises:
            StorageError: it cannot be started.
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
        """Return whether a child has left, or has died and stays dead."""
        seat = self._seats[name]
        return seat.given_up or seat.child.has_left

    def progressed(self, names: Iterable[str]) -> None:
        """Note that these children have done something; nothing happens to those never started."""
        for name in self._seats.keys() & set(names):
            self._seats[name].fruitless = 0

    def is_fruitless(self, name: str) -> bool:
        """Return whether a child stays dead because it has never done anything."""
        return self._seats[name].given_up and self._seats[name].fruitless >= MAX_FRUITLESS

    def has_given_up(self, name: str) -> bool:
        """Return whether a child has died and stays dead."""
        return self._seats[name].given_up

    def tend(self, names: Iterable[str] | None = None) -> None:
        """Start the dead again whose pause is over; cut log files that grow without end.

        Args:
            names: of the children to tend; default: all.

        Raises:
            ConfigError: one says that the user's settings are wrong.
        """
        for seat in [self._seats[name] for name in names or self._seats]:
            if seat.child.status is None:
                seat.child.trim_log()
            elif not (seat.given_up or seat.child.has_left):
                self._replace(seat)

    def _replace(self, seat: _Seat) -> None:
        child, now_s = seat.child, time.monotonic()
        if seat.due_s is None:
            if child.error is not None:  # it would say the same again
                if child.status == ConfigError.status:
                    raise ConfigError(child.error)
                self._give_up(seat, child.reason())
                return
            seat.fruitless += 1
            if seat.fruitless >= MAX_FRUITLESS:
                self._give_up(seat, f"{child.reason()}, {seat.fruitless} times before it had done anything")
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
        """Have a seat filled after its pause, if there are restarts left."""
        if self.restarts >= self._max_restarts:
            self._give_up(seat, f"not started again (--max-restarts {self._max_restarts}): {reason}")
            return
        self.restarts += 1
        seat.due_s = time.monotonic() + seat.pause_s
        self._say(f"restart {self.restarts} of {self._max_restarts}: {reason}; in {seat.pause_s:g} s")
        seat.pause_s = min(2 * seat.pause_s, LONGEST_PAUSE_S)

    def _give_up(self, seat: _Seat, reason: str) -> None:
        seat.given_up = True
        self._say(reason)
