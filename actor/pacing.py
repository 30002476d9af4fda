"""Pace of an actor's env steps, and the decision to continue without an answer from the learner.

In: times of env steps and of the learner's messages. Out: whether to step beyond the learner's allowance.
Must not know: clocks, sockets.
"""

from collections import deque

REAL_TIME_STEP_S = 0.01
"""Shortest env step, in seconds, of an environment that counts as a robot: it cannot pause while the learner
is silent, and it produces few transitions meanwhile."""
SILENT_S = 0.1
"""Seconds without a message after which such an actor continues; a busy learner sends messages more often."""
NUM_MEASUREMENTS = 8
"""Number of recent measurements; their minimum is used, so that a slow reset has no effect."""


class Pace:
    """Duration of env steps, without pauses.

    Attributes:
        is_ahead: whether the actor has exceeded the learner's allowance while the learner was silent. The
            caller resets it once there is room again; until then, a learner that catches up with its backlog
            does not stop a robot.
    """

    def __init__(self) -> None:
        self.is_ahead = False
        self._steps = 0
        self._since_s: float | None = None
        self._recent: deque[float] = deque(maxlen=NUM_MEASUREMENTS)

    @property
    def step_s(self) -> float:
        """Duration of an env step in seconds; 0 before it is known."""
        return min(self._recent) if len(self._recent) == NUM_MEASUREMENTS else 0.0

    def stepped(self) -> None:
        """Count one iteration in which every environment took a step."""
        self._steps += 1

    def waited(self) -> None:
        """Discard the time since the last measurement."""
        self._steps, self._since_s = 0, None

    def measure(self, now_s: float) -> None:
        """Measure the steps since the last measurement.

        Args:
            now_s: monotonic time, seconds.
        """
        if self._steps and self._since_s is not None:
            self._recent.append((now_s - self._since_s) / self._steps)
        self._steps, self._since_s = 0, now_s

    def goes_on(self, unacked: int, silent_s: float) -> bool:
        """Return whether to step without the learner's allowance.

        Args:
            unacked: transitions not yet acknowledged.
            silent_s: seconds since the learner's last message.
        """
        step_s = self.step_s
        if step_s < REAL_TIME_STEP_S:
            return False
        if silent_s > SILENT_S:
            self.is_ahead = True
        return self.is_ahead or unacked * step_s < 2 * SILENT_S
