"""The `graspfleet` command: a table of sub-commands, and the one place where errors become exit statuses."""

import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from common.errors import DISK_ERRNOS, ConfigError, DivergedError, NoResultError, StorageError
from common.reports import STATUS, report, say_error
from common.runtime.signals import exit_within_bound
from common.streams import Streams

COMMANDS: dict[str, tuple[str, str, str]] = {
    "train": ("common.launch", "main", "train on this machine: a learner, actors and an evaluator"),
    "learner": ("learner.__main__", "main", "own replay and SAC, publish the policy"),
    "actor": ("actor.__main__", "main", "step environments for a learner"),
    "evaluator": ("actor.__main__", "main_evaluator", "follow a learner with deterministic episodes"),
    "evaluate": ("actor.__main__", "main_evaluate", "deterministic episodes of a run's policy"),
    "demos": ("actor.grasp.demos", "main", "let the scripted expert grasp, and store its episodes"),
    "keys": ("common.keys", "main", "make, list and revoke the keys that let actors in"),
    "status": ("common.status", "main", "what a running learner says of itself"),
}
"""Name -> module, function, help; imported when called, so no command needs another's packages."""


def run_main(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run a command; return its exit status.

    A user's mistake is one line on standard error and status 2, a disk that refuses or an evaluation without
    a whole episode one line and status 1, a training that diverged one line and status 3.
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
    """Raise ConfigError where the working directory has been removed: paths are looked for there."""
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


def main() -> None:
    """Entry point of the console command."""
    # The first process of a container has no default action for SIGTERM: without a handler a stop that comes
    # while a command's packages are being imported would not be heard. Commands take it over later.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    Streams()  # before anything is imported that could open a file in the place of a closed one
    try:
        dispatch(sys.argv[1:])
    except KeyboardInterrupt:  # while a command's packages were being imported
        sys.exit(130)


def dispatch(argv: list[str]) -> None:
    """Run the command that the first word names; leave with its exit status."""
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        lines = [f"  {name:{width}}  {text}" for name, (_, _, text) in COMMANDS.items()]
        print(
            "usage: graspfleet COMMAND [FLAGS]\n\n"
            + "\n".join(lines)
            + "\n\ngraspfleet COMMAND --help lists flags."
        )
        sys.exit(0 if argv else 2)
    if argv[0] not in COMMANDS:
        say_error(f"{argv[0]}: no such command; allowed: {', '.join(COMMANDS)}")
        sys.exit(2)
    module, function, _ = COMMANDS[argv[0]]
    try:
        command = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        say_error(f"{argv[0]} needs {error.name}; install it with: pip install 'graspfleet[learner]'")
        sys.exit(2)
    leave_with(command, argv[1:])


if __name__ == "__main__":
    main()
