"""The `graspfleet` command: its subcommands, each imported only when it is called."""

import importlib
import importlib.util
import signal
import sys

import graspfleet
from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.exit import leave_with
from graspfleet.common.runtime.reports import say_error
from graspfleet.common.runtime.streams import Streams
from graspfleet.sub_commands import choose

COMMANDS = {
    "train": ("graspfleet.train", "main", "train on this machine: a learner, actors and an evaluator"),
    "learner": ("graspfleet.learner.__main__", "main", "own the replay, learn, publish the policy"),
    "actor": ("graspfleet.actor.__main__", "main", "step environments for a learner"),
    "evaluator": ("graspfleet.actor.__main__", "main_evaluator", "evaluate the newest policy of a learner"),
    "evaluate": ("graspfleet.actor.__main__", "main_evaluate", "evaluate the policy of a finished run"),
    "demos": ("graspfleet.actor.grasp.demos", "main", "record episodes of the scripted expert"),
    "keys": ("graspfleet.keys", "main", "create, list and revoke the keys of learner and actors"),
    "status": ("graspfleet.status", "main", "show the state of a running learner"),
}
"""Name -> module, function, help. No command needs another one's packages."""
LEARNS, LEARNER_PACKAGE = ("train", "learner"), "torch"
"""Commands that need the `learner` extra, and the package that tells whether it is installed."""


def main() -> None:
    """Entry point of the console command."""
    # The first process of a container has no default action for SIGTERM: without a handler, a SIGTERM during
    # the import of a command's packages would be ignored. Commands install their own handler later.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    Streams()  # before an import can open a file on the descriptor of a closed standard stream
    try:
        dispatch(sys.argv[1:])
    except KeyboardInterrupt:  # during the import of a command's packages
        sys.exit(130)


def dispatch(argv: list[str]) -> None:
    """Run the command that the first word names, and exit with its status."""
    try:
        name = choose(
            "graspfleet",
            {name: text for name, (_, _, text) in COMMANDS.items()},
            argv,
            graspfleet.__version__,
        )
    except ConfigError as error:
        say_error(str(error))
        sys.exit(error.status)
    wants_help = not {"-h", "--help"}.isdisjoint(argv)
    if name in LEARNS and not wants_help and importlib.util.find_spec(LEARNER_PACKAGE) is None:
        say_error(f"{name} needs {LEARNER_PACKAGE}; install it with: pip install 'graspfleet[learner]'")
        sys.exit(ConfigError.status)
    module, function, _ = COMMANDS[name]
    leave_with(getattr(importlib.import_module(module), function), argv[1:])
