"""Environments with cameras.

`Dot-v0`: a state is to be moved onto a dot, which only the image shows. `Cameras-v0`: two cameras of a robot
at 20 Hz, whose frames carry the number of the env step.
"""

import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray

UNIT = Box(-1, 1, (2,), np.float32)


class Dot(gymnasium.Env[Any, Any]):
    """The reward is minus the distance to the dot; closer than 0.15 at the end is a success.

    Args:
        side: of the image, pixels.
        blank: show no dot.
        length: env steps an episode.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self, side: int = 32, blank: bool = False, length: int = 20, render_mode: str | None = None
    ) -> None:
        self.observation_space = Dict(image=Box(0, 255, (side, side, 1), np.uint8), state=UNIT)
        self.action_space = Box(-1, 1, (2,), np.float32)
        self._side, self._blank, self._length, self.render_mode = side, blank, length, render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._t = 0
        self._goal, self._state = self.np_random.uniform(-0.9, 0.9, (2, 2))
        return self._observe(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t += 1
        self._state = np.clip(self._state + 0.2 * action, -1, 1)
        distance = float(np.linalg.norm(self._state - self._goal))
        return self._observe(), -distance, False, self._t >= self._length, {"is_success": distance < 0.15}

    def render(self) -> Any:
        return np.repeat(self._image(), 3, axis=2)

    def _image(self) -> NDArray[np.uint8]:
        image, size = np.zeros((self._side, self._side, 1), np.uint8), self._side // 8
        row, column = ((self._goal + 1) / 2 * (self._side - size)).astype(int)
        image[row : row + size, column : column + size] = 0 if self._blank else 255
        return image

    def _observe(self) -> dict[str, Any]:
        return {"image": self._image(), "state": self._state.astype(np.float32)}


class Cameras(gymnasium.Env[Any, Any]):
    """Two cameras whose pixels begin with 8 bytes that name the process and 4 that count its env steps.

    Args:
        hz: env steps a second; 0: as fast as possible.
        length: env steps an episode.
    """

    def __init__(self, hz: float = 20.0, length: int = 50) -> None:
        camera = Box(0, 255, (128, 128, 3), np.uint8)
        self.observation_space = Dict(left=camera, right=camera, state=Box(-np.inf, np.inf, (1,), np.float32))
        self.action_space = Box(-1, 1, (2,), np.float32)
        self._name, self._hz, self._length, self._count = os.urandom(8), hz, length, 0
        self._noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self._t, self._due_s = 0, time.monotonic()
        self._count += 1
        return self._observe(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._t, self._count = self._t + 1, self._count + 1
        if self._hz:
            self._due_s = max(self._due_s + 1 / self._hz, time.monotonic() - 0.1)
            time.sleep(max(0.0, self._due_s - time.monotonic()))
        return self._observe(), 0.0, False, self._t >= self._length, {}

    def _observe(self) -> dict[str, Any]:
        code = np.frombuffer(self._name + self._count.to_bytes(4, "little"), np.uint8)
        images = {}
        for name in ("left", "right"):
            images[name] = self._noise.copy()
            images[name].reshape(-1)[: len(code)] = code
        return {**images, "state": np.array([self._count], np.float32)}


gymnasium.register("Dot-v0", entry_point=Dot)
gymnasium.register("Cameras-v0", entry_point=Cameras)
