"""Selection of a subcommand by the first word of a command line."""

import argparse
from collections.abc import Mapping, Sequence

from graspfleet.common.errors import ConfigError, shown


def choose(prog: str, commands: Mapping[str, str], argv: Sequence[str], version: str = "") -> str:
    """Return the subcommand that the first word names.

    Args:
        prog: the command that has these subcommands.
        commands: name -> help.
        argv: words after `prog`; those after the first belong to the subcommand.
        version: shown by `--version`; "" for no such flag.

    Raises:
        ConfigError: there is no such subcommand.
        SystemExit: status 0 after --help or --version, 2 if `argv` is empty.
    """
    parser = argparse.ArgumentParser(
        prog=prog, epilog=f"{prog} COMMAND --help lists its flags.", allow_abbrev=False
    )
    if version:
        parser.add_argument("--version", action="version", version=f"{prog} {version}")
    choices = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, text in commands.items():
        choices.add_parser(name, help=text, add_help=False)
    if not argv:
        parser.print_help()
        raise SystemExit(2)
    word = argv[0]
    if word.startswith("-"):
        parser.parse_known_args([word])  # --help and --version end here
        raise ConfigError(f"{word}: no such flag; {prog} --help lists all flags")
    if word not in commands:
        raise ConfigError(f"{shown(word)}: no such command; allowed: {', '.join(commands)}")
    return word
