"""The `graspfleet` command: its sub-commands, each imported only when it is called."""

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
    "evaluator": ("graspfleet.actor.__main__", "main_evaluator", "follow a learner, deterministic episodes"),
    "evaluate": ("graspfleet.actor.__main__", "main_evaluate", "deterministic episodes of a run's policy"),
    "demos": ("graspfleet.actor.grasp.demos", "main", "record episodes of the scripted expert"),
    "keys": ("graspfleet.keys", "main", "make, list and revoke the keys that let actors in"),
    "status": ("graspfleet.status", "main", "state of a running learner"),
}
"""Name -> module, function, help. No command needs another one's packages."""
LEARNS, LEARNER_PACKAGE = ("train", "learner"), "torch"
"""Commands that need the extra `learner`, and the package that shows whether it is installed."""


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
