"""Pace of an actor's env steps, and the decision to go on without its learner.

In: the times of env steps and of what was heard. Out: whether to step beyond what the learner allowed. It
reads no clock and knows no socket.
"""

from collections import deque

REAL_TIME_STEP_S = 0.01
"""Env steps that take as long as this are taken for a robot's: it cannot stand still while a learner is
silent, and will not run far ahead of it meanwhile."""
SILENT_S = 0.1
"""Seconds after a learner's last word after which such an actor no longer waits for the next one; a learner
that only wants it to wait says so more often."""
NUM_MEASUREMENTS = 8
"""Measurements of which the shortest counts: a slow reset among them makes no robot."""


class Pace:
    """Measures env steps between two looks at the clock, waits left out.

    Attributes:
        is_ahead: whether steps beyond what the learner allowed were made while it was silent. Who has room
            again sets it to False; until then a learner that comes back and works off what waits for it does
            not stop a robot.
    """

    def __init__(self) -> None:
        self.is_ahead = False
        self._steps = 0
        self._since_s: float | None = None
        self._recent: deque[float] = deque(maxlen=NUM_MEASUREMENTS)

    @property
    def step_s(self) -> float:
        """Seconds that an env step takes; 0 before that is known."""
        return min(self._recent) if len(self._recent) == NUM_MEASUREMENTS else 0.0

    def stepped(self) -> None:
        """Count one turn of the loop in which every environment took a step."""
        self._steps += 1

    def waited(self) -> None:
        """Leave the time since the last look out."""
        self._steps, self._since_s = 0, None

    def measure(self, now_s: float) -> None:
        """Take the measure of the steps since the last look.

        Args:
            now_s: monotonic time, seconds.
        """
        if self._steps and self._since_s is not None:
            self._recent.append((now_s - self._since_s) / self._steps)
        self._steps, self._since_s = 0, now_s

    def goes_on(self, unacked: int, silent_s: float) -> bool:
        """Return whether to step although the learner allows no more transitions.

        Args:
            unacked: transitions not yet acknowledged.
            silent_s: seconds since the learner was last heard.
        """
        step_s = self.step_s
        if step_s < REAL_TIME_STEP_S:
            return False
        if silent_s > SILENT_S:
            self.is_ahead = True
        return self.is_ahead or unacked * step_s < 2 * SILENT_S
