"""`Dying-v0`: its process dies in a way and at a point of one's choice, after misleading words."""

import os
import signal
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class DyingEnv(gymnasium.Env[Floats, Floats]):
    """Counts the steps of its episodes.

    Args:
        how: "exit 0" (or another status), "SIGSEGV" (or another signal), "interrupt", "system exit", "error".
        at: name of the method that it dies in: "make", "reset" or "step".
        after: calls of that method before.
        unless: does not die in processes whose command line has this word.
        key: of the info in which it says success.
    """

    def __init__(
        self, how: str = "", at: str = "step", after: int = 0, unless: str = "", key: str = "success"
    ) -> None:
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
        with open("/proc/self/cmdline") as words:
            spared = bool(unless) and unless in words.read()
        self._how, self._at, self._left, self._key = "" if spared else how, at, after, key
        self._steps = 0
        print('{"mean_return": 1e9, "policy_env_steps": 5, "chosen_by": "nobody"}', flush=True)
        print("error: this is not what ends it", flush=True)
        self._maybe_die("make")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Floats, dict[str, Any]]:
        super().reset(seed=seed)
        self._maybe_die("reset")
        self._steps = 0
        return np.zeros(3, np.float32), {}

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, dict[str, Any]]:
        self._maybe_die("step")
        self._steps += 1
        done = self._steps == 20
        return np.full(3, self._steps / 1000, np.float32), -1.0, False, done, {self._key: done}

    def close(self) -> None:
        print('{"mean_return": 2e9, "policy_env_steps": 6, "chosen_by": "nobody"}', flush=True)

    def _maybe_die(self, point: str) -> None:
        if point != self._at or not self._how:
            return
        self._left -= 1
        if self._left >= 0:
            return
        word = self._how.split()[-1]
        if self._how.startswith("SIG"):
            os.kill(os.getpid(), signal.Signals[self._how])
        elif word.isdigit():
            os._exit(int(word))
        elif self._how == "error":
            raise RuntimeError("it is broken")
        raise SystemExit(0) if self._how == "system exit" else KeyboardInterrupt


gymnasium.register("Dying-v0", entry_point=DyingEnv)
