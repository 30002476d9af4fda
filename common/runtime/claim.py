"""The run directory that a command's flags name: its claim, and its removal after a user's mistake."""

import contextlib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from graspfleet.common.errors import ConfigError, StorageError
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.processes import RunConfig

MAX_NAME_LENGTH = 100
"""Characters of an environment's id in the name of a run directory."""
MAX_NAMES_PER_SECOND = 1000
"""Largest number of runs of one environment that start in the same second without --run-dir."""


def claim_run(config: RunConfig, env: str) -> RunDirectory:
    """Return the run directory that the flags name, created and claimed by this process.

    Args:
        config: `--run-dir` or `--resume`.
        env: Gymnasium id, part of the default name.

    Raises:
        ConfigError: the directory holds another run or none to resume, is in use, or is not writable.
    """
    named = config.resume or config.run_dir
    run = _new_run(env) if named is None else RunDirectory(named)
    run.claim(resume=config.resume is not None, unbegun=config.auto_resume)
    return run


@contextlib.contextmanager
def unless_refused(run: RunDirectory) -> Iterator[None]:
    """Discard a run that has not begun if the body raises ConfigError or StorageError."""
    try:
        yield
    except (ConfigError, StorageError):
        run.discard()
        raise


def _new_run(env: str) -> RunDirectory:
    """Create a folder of this process's own; a second process in the same second gets another name."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", env).strip(".-")[:MAX_NAME_LENGTH]
    path = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    for suffix in ("", *(f"-{number}" for number in range(2, MAX_NAMES_PER_SECOND))):
        folder = path.with_name(path.name + suffix)
        is_first = not folder.parent.exists()
        try:
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir()
            return RunDirectory(folder, made=[folder, folder.parent][: 1 + is_first])
        except FileExistsError:
            if not folder.parent.is_dir():
                raise ConfigError("--run-dir: runs is a file; allowed: a folder for new runs") from None
        except OSError as error:
            raise ConfigError(f"--run-dir {folder}: {error.strerror}; allowed: a writable folder") from None
    raise ConfigError(f"--run-dir {path}: exists; allowed: another name")
