"""n-step returns: env steps in, bootstrapped transitions out (like acme's adders)."""

from collections import deque
from collections.abc import Callable

from graspfleet.common.observations.fields import Floats, Observation
from graspfleet.common.transition import Transition


class NStepAdder:
    """Converts the steps of one environment to transitions with n-step rewards.

    reward = sum_{i<m} discount**i * r_i,   bootstrap factor = discount**m,   m = min(n, steps left)

    Every env step yields exactly one transition, at the latest when its episode ends.

    Args:
        n_step: n, at least 1.
        discount: per env step.
        sink: receives each transition.
    """

    def __init__(self, n_step: int, discount: float, sink: Callable[[Transition], None]) -> None:
        self._n_step = n_step
        self._discount = discount
        self._sink = sink
        self._steps: deque[tuple[Observation, Floats, float]] = deque()
        self._last: tuple[Observation, bool, bool] | None = None

    def add(
        self,
        obs: Observation,
        action: Floats,
        reward: float,
        next_obs: Observation,
        *,
        terminated: bool,
        truncated: bool,
    ) -> None:
        """Add one env step; the observations and the action [action_dim] are kept, not copied."""
        self._steps.append((obs, action, reward))
        self._last = (next_obs, terminated, truncated)
        if terminated or truncated:
            self._emit_all()
        elif len(self._steps) == self._n_step:
            self._emit()

    def flush(self) -> None:
        """Emit the transitions of all pending steps, as if a time limit had ended the episode."""
        if self._steps and self._last is not None:
            self._last = (self._last[0], False, True)
            self._emit_all()

    def _emit_all(self) -> None:
        while self._steps:
            self._emit()

    def _emit(self) -> None:
        assert self._last is not None
        total, factor = 0.0, 1.0
        for _, _, reward in self._steps:
            total += factor * reward
            factor *= self._discount
        obs, action, _ = self._steps.popleft()
        next_obs, terminated, truncated = self._last
        self._sink(Transition(obs, next_obs, action, total, factor, terminated, truncated))
