"""The run directory that a command's flags name, claimed, and taken back when its user was mistaken."""

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
"""Runs of one environment that may be started in the same second without --run-dir."""


def claim_run(config: RunConfig, env: str) -> RunDirectory:
    """Return the run directory that the flags name, made and claimed by this process.

    Args:
        config: `--run-dir` or `--resume`.
        env: Gymnasium id, part of the default name.

    Raises:
        ConfigError: it holds another run or none to resume, is in use, or cannot be written.
    """
    named = config.resume or config.run_dir
    run = _new_run(env) if named is None else RunDirectory(named)
    run.claim(resume=config.resume is not None, unbegun=config.auto_resume)
    return run


@contextlib.contextmanager
def unless_refused(run: RunDirectory) -> Iterator[None]:
    """Discard a run that has not begun when a user's mistake or the disk ends what is done meanwhile."""
    try:
        yield
    except (ConfigError, StorageError):
        run.discard()
        raise


def _new_run(env: str) -> RunDirectory:
    """Make a folder that nobody else has: the second of two processes in one second gets another name."""
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
                raise ConfigError("--run-dir: runs is a file; allowed: a folder to make runs in") from None
        except OSError as error:
            raise ConfigError(
                f"--run-dir {folder}: {error.strerror}; allowed: a folder that can be written"
            ) from None
    raise ConfigError(f"--run-dir {path}: taken; allowed: a name of your own")
