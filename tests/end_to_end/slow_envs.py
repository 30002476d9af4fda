"""`Slow-v0`: each of its methods can be slow, from one of its calls on, and says so on standard output."""

import time
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class SlowEnv(gymnasium.Env[Floats, Floats]):
    """Counts the steps of its episodes.

    Args:
        slow: name of the method that is slow: "make", "reset", "step", "reinit", "close"; "" for none.
        seconds: how slow.
        after: calls of that method that are quick before.
        length: env steps an episode; 0 for no end.
    """

    def __init__(self, slow: str = "", seconds: float = 3600.0, after: int = 0, length: int = 20) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        self._slow, self._seconds, self._quick, self._length = slow, seconds, after, length
        self._steps = 0
        self._take_time("make")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        super().reset(seed=seed)
        self._take_time("reset")
        self._steps = 0
        return self._obs(), {}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        self._take_time("step")
        self._steps += 1
        return self._obs(), -1.0, False, self._steps == self._length, {}

    def reinit(self) -> None:
        self._take_time("reinit")

    def close(self) -> None:
        self._take_time("close")

    def _take_time(self, name: str) -> None:
        if name == self._slow:
            self._quick -= 1
            if self._quick < 0:
                print(f"slow {name}", flush=True)
                time.sleep(self._seconds)

    def _obs(self) -> Floats:
        return np.full(3, self._steps / 1000, np.float32)


gymnasium.register("Slow-v0", entry_point=SlowEnv)
