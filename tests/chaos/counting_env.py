"""`Counting-v0`: numbers its env steps, and counts them in a file.

An observation is (high, low, count): 32 random bits that name the process, and how many env steps it has
made, all exact in float32. The count also goes into a memory-mapped file, which outlives a SIGKILL.
"""

import mmap
import os
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

EPISODE_STEPS = 100
SLOW_LEARNING = ("--learning-rate", "1e-6")
"""Flags with which 100,000 updates on observations of this size stay finite."""
MAX_COUNT = 1 << 24
"""Integers up to here are exact in float32."""

Floats = NDArray[np.float32]


class CountingEnv(gymnasium.Env[Floats, Floats]):
    """Counts its steps, over all episodes.

    Args:
        folder: of the file with the count, which is named after the process.
    """

    def __init__(self, folder: str, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        name = os.urandom(4)
        self._high, self._low = int.from_bytes(name[:2], "big"), int.from_bytes(name[2:], "big")
        path = Path(folder) / name.hex()
        path.write_bytes(bytes(8))
        with path.open("r+b") as file:
            self._made = mmap.mmap(file.fileno(), 8)
        self._count = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        super().reset(seed=seed)
        self._left = EPISODE_STEPS
        return self._obs(), {}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        self._count += 1
        assert self._count < MAX_COUNT
        self._made[:] = self._count.to_bytes(8, "little")
        self._left -= 1
        return self._obs(), 0.0, False, self._left == 0, {}

    def _obs(self) -> Floats:
        return np.array([self._high, self._low, self._count], np.float32)


def steps_made(folder: Path) -> dict[int, int]:
    """Return by process how many env steps it has made."""
    return {int(path.name, 16): int.from_bytes(path.read_bytes(), "little") for path in folder.iterdir()}


gymnasium.register("Counting-v0", entry_point=CountingEnv)
