"""Checkpoints of the state outside replay and journal, written so that a crash never damages an older one."""

import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.files import read_limited, write_atomically
from graspfleet.learner.numerics.divergence import require_state

log = logging.getLogger(__name__)

BEST = "best.pt"
FLAGS = "flags"
"""Key of the flags in a saved state."""
MAX_BYTES = 32 << 30
"""Largest checkpoint in bytes, with any settings."""


class Checkpoints:
    """The newest K checkpoints of a run, and the best by evaluation.

    Args:
        folder: folder of the checkpoint files.
        num_kept: number of newest checkpoints kept.
        flags: flags with which a state can be resumed; one saved with others is refused.
    """

    def __init__(self, folder: Path, num_kept: int, flags: Sequence[str]) -> None:
        self._folder, self._flags = folder, list(flags)
        self._num_kept = num_kept

    def save(self, state: dict[str, Any], env_steps: int, *, best: bool = False) -> Path | None:
        """Write a checkpoint; a failed write does not stop training.

        Surplus older checkpoints are removed. So are those of more env steps, whose rows were lost in a power
        failure: this state supersedes them.

        Args:
            state: tensors and plain values.
            env_steps: names the file; never smaller than before, except after a power failure.
            best: write `best.pt` instead of a numbered file.

        Returns:
            The file, or None if it could not be written.

        Raises:
            DivergedError: the state is not finite; nothing was written or removed.
        """
        require_state(state)
        path = self._folder / (BEST if best else f"step-{env_steps:012d}.pt")
        buffer = io.BytesIO()
        torch.save({**state, FLAGS: self._flags}, buffer)
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
            ConfigError: there is no readable checkpoint, or it was saved with other flags.
        """
        for path in reversed(self._numbered()):
            if (state := _read(path)) is None:
                continue
            if (found := state.pop(FLAGS, None)) != self._flags:
                theirs = list(map(str, found)) if isinstance(found, list) else ["others"]
                mine = [flag for flag in self._flags if flag not in theirs] or self._flags
                other = [flag for flag in theirs if flag not in self._flags] or theirs
                raise ConfigError(f"{' '.join(mine)}: the run uses {' '.join(other)}; allowed: the same")
            return state
        raise ConfigError(f"--resume: no readable checkpoint in {self._folder}")

    def _remove_others(self, newest: Path) -> None:
        """Remove all checkpoints but the newest `num_kept` up to `newest`."""
        numbered = self._numbered()
        end = numbered.index(newest) + 1
        for path in (*numbered[: max(0, end - self._num_kept)], *numbered[end:]):
            path.unlink()

    def _numbered(self) -> list[Path]:
        return sorted(self._folder.glob("step-*.pt"))


def _read(path: Path) -> dict[str, Any] | None:
    """Return a state, or None if the file is damaged."""
    try:
        data = io.BytesIO(read_limited(path, MAX_BYTES))
        state = torch.load(data, map_location="cpu", weights_only=True)
        assert isinstance(state, dict)
        require_state(state)
        return state
    except Exception as error:  # a damaged file can make torch raise almost any exception
        log.warning("%s is damaged (%s); trying the one before it", path, " ".join(str(error).split())[:200])
        return None
