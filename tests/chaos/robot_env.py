"""`Robot-v0`: `Counting-v0` in real time at 20 Hz, which logs the pauses between its steps."""

import os
import struct
import time
from pathlib import Path
from typing import Any

import gymnasium

from tests.chaos.counting_env import CountingEnv, Floats

STEP_S = 0.05
_PAUSE = struct.Struct("<dd")


class RobotEnv(CountingEnv):
    """An environment whose steps take `STEP_S`, like those of a robot.

    Args:
        folder: as `CountingEnv`.
        pauses: file of (monotonic time, seconds since the last step's end), one pair a step.
    """

    def __init__(self, folder: str, pauses: str) -> None:
        super().__init__(folder)
        self._pauses = os.open(pauses, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._ended_s = time.monotonic()

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        now_s = time.monotonic()
        os.write(self._pauses, _PAUSE.pack(now_s, now_s - self._ended_s))
        time.sleep(STEP_S)
        result = super().step(action)
        self._ended_s = time.monotonic()
        return result


def pauses_between(file: Path, since_s: float, until_s: float) -> list[float]:
    """Return the pauses before steps that began in a span of monotonic time, seconds."""
    pairs = _PAUSE.iter_unpack(file.read_bytes())
    return [pause_s for at_s, pause_s in pairs if since_s <= at_s < until_s]


gymnasium.register("Robot-v0", entry_point=RobotEnv)
