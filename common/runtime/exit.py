"""The end of a command's process: the only place where errors become exit statuses."""

import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from graspfleet.common.errors import DISK_ERRNOS, ConfigError, DivergedError, NoResultError, StorageError
from graspfleet.common.runtime.reports import STATUS, report, say_error
from graspfleet.common.runtime.signals import exit_within_bound
from graspfleet.common.runtime.streams import Streams


def run_main(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run a command; return its exit status.

    Expected errors print one line on standard error: a user's mistake gives status 2, a disk error or an
    evaluation without a complete episode status 1, diverged training status 3.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    try:
        _require_working_directory()
        return main(argv)
    except (ConfigError, StorageError, DivergedError, NoResultError) as error:
        say_error(str(error))
        return error.status
    except OSError as error:
        if error.errno not in DISK_ERRNOS:
            raise
        say_error(f"{error.filename or 'output'}: {error.strerror}")
        return StorageError.status
    except KeyboardInterrupt:
        return 130


def _require_working_directory() -> None:
    """Raise ConfigError if the working directory has been removed: relative paths would have no meaning."""
    try:
        os.getcwd()
    except OSError as error:
        raise ConfigError(f"working directory: {error.strerror}; allowed: one that exists") from None


def leave_with(main: Callable[[list[str]], int], argv: list[str]) -> NoReturn:
    """Run a command and end the process with its exit status."""
    status, streams = 1, Streams()
    try:
        status = run_main(main, argv)
        if (lost := streams.finish()) is not None:
            say_error(lost)
            status = status or StorageError.status
        report(STATUS, str(status))
    finally:
        exit_within_bound(status)
    sys.exit(status)
