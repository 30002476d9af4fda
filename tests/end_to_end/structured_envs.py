"""Environments whose observations have parts: a point is to be moved to a target.

In: `form`, a key of `SPACES`. The target and the point are in every form of observation.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Tuple
from numpy.typing import NDArray

UNIT = Box(-2, 2, (2,), np.float32)
SPACES: dict[str, "gymnasium.Space[Any]"] = {
    "dict": Dict({"point": UNIT, "target": UNIT}),
    "nested": Dict({"arm": Dict({"point": UNIT}), "goal": Tuple((UNIT, Discrete(4)))}),
    "tuple": Tuple((UNIT, UNIT)),
    "discrete-and-box": Dict({"quadrant": Discrete(4), "both": Box(-2, 2, (4,), np.float64)}),
    "matrix": Box(-2, 2, (2, 2), np.float64),
    "far-off": Box(-np.inf, np.inf, (4,), np.float64),
    "scalars": Dict({str(index): Box(-2, 2, (), np.float32) for index in range(4)}),
}


class Point(gymnasium.Env[Any, Any]):
    """The reward is minus the distance to the target."""

    def __init__(self, form: str = "dict") -> None:
        self.observation_space = SPACES[form]
        self.action_space = Box(-1, 1, (2,), np.float32)
        self._form = form

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._point, self._target = self.np_random.uniform(-1, 1, (2, 2))
        self._t = 0
        return self._observe(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._point = np.clip(self._point + 0.4 * action, -2, 2)
        self._t += 1
        distance = float(np.linalg.norm(self._point - self._target))
        return self._observe(), -distance, False, self._t >= 10, {"is_success": distance < 0.3}

    def _observe(self) -> Any:
        point, target = self._point.astype(np.float32), self._target.astype(np.float32)
        quadrant = int(target[0] > 0) + 2 * int(target[1] > 0)
        both = np.stack([point, target])
        return {
            "dict": {"point": point, "target": target},
            "nested": {"arm": {"point": point}, "goal": (target, quadrant)},
            "tuple": (point, target),
            "discrete-and-box": {"quadrant": np.int64(quadrant), "both": both.reshape(-1).astype(np.float64)},
            "matrix": both.astype(np.float64),
            "far-off": np.array([20.0, 20.0, 300.0, 300.0]) + both.reshape(-1) * [0.01, 0.01, 100.0, 100.0],
            "scalars": {str(index): value for index, value in enumerate(both.reshape(-1))},
        }[self._form]


gymnasium.register("Point-v0", entry_point=Point)
