"""Checkpoints: everything that must survive, written so that a crash never costs an older good one."""

import io
import logging
from pathlib import Path
from typing import Any

import torch

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.files import read_limited, write_atomically
from graspfleet.learner.numerics.divergence import require_state

log = logging.getLogger(__name__)

BEST = "best.pt"
NAME = "algorithm_name"
"""Key of the algorithm's name in a state."""
MAX_BYTES = 32 << 30
"""A larger file is no checkpoint, whatever the settings."""


class Checkpoints:
    """The newest K checkpoints of a run and the best by evaluation.

    Args:
        folder: where they lie.
        num_kept: newest ones kept.
        algorithm: name of the one whose states these are; another one's are refused.
    """

    def __init__(self, folder: Path, num_kept: int, algorithm: str) -> None:
        self._folder, self._algorithm = folder, algorithm
        self._num_kept = num_kept

    def save(self, state: dict[str, Any], env_steps: int, *, best: bool = False) -> Path | None:
        """Write one; training goes on without it when the disk refuses.

        Older ones go when there are too many. So do those of more env steps: a power cut took their rows, and
        this state goes on from them.

        Args:
            state: tensors and plain values.
            env_steps: names the file; never smaller than before, but for a resume after a power cut.
            best: write `best.pt` instead of a numbered one.

        Returns:
            the file, or None when it could not be written.

        Raises:
            DivergedError: the state is not finite; nothing was written or removed.
        """
        require_state(state)
        path = self._folder / (BEST if best else f"step-{env_steps:012d}.pt")
        buffer = io.BytesIO()
        torch.save({**state, NAME: self._algorithm}, buffer)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, buffer.getvalue())
            if not best:
                self._remove_others(path)
        except OSError as error:
            log.error("no checkpoint written: %s: %s", path, error.strerror)
            return None
        return path

    def load_newest(self) -> dict[str, Any]:
        """Return the newest readable state.

        Raises:
            ConfigError: there is none, or it is of another algorithm.
        """
        for path in reversed(self._numbered()):
            if (state := _read(path)) is None:
                continue
            if (found := state.pop(NAME, "another one")) != self._algorithm:
                raise ConfigError(f"--algorithm {self._algorithm}: the run has {found}; allowed: the same")
            return state
        raise ConfigError(f"--resume: no readable checkpoint in {self._folder}")

    def _remove_others(self, newest: Path) -> None:
        """Keep the newest and as many before it as wanted."""
        numbered = self._numbered()
        end = numbered.index(newest) + 1
        for path in (*numbered[: max(0, end - self._num_kept)], *numbered[end:]):
            path.unlink()

    def _numbered(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.pt"))


def _read(path: Path) -> dict[str, Any] | None:
    """Return a state, None if it is damaged."""
    try:
        data = io.BytesIO(read_limited(path, MAX_BYTES))
        state = torch.load(data, map_location="cpu", weights_only=True)
        assert isinstance(state, dict)
        require_state(state)
        return state
    except Exception as error:  # there is no end to what a damaged file makes torch raise
        log.warning("%s is damaged (%s); trying the one before", path, " ".join(str(error).split())[:200])
        return None
