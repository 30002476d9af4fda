"""Words of a command line -> values by section, by argparse; the flags are the fields of the models.

A flag is spelled with dashes or underscores, its value is the next word or follows an equals sign, and the
last of several takes effect. The values are still text: the models validate them later, together with those
of files and presets.
"""

import argparse
import difflib
import itertools
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_origin

from pydantic.fields import FieldInfo

from graspfleet.common.errors import ConfigError, shown
from graspfleet.common.settings.section import (
    Positional,
    Section,
    Spelling,
    bounds,
    choices,
    flag,
    is_optional,
    kind,
)

Layer = dict[str, dict[str, Any]]
"""Section -> name -> value."""
Models = Mapping[str, Sequence[type[Section]]]
"""Section -> alternative models of its flags, one for each algorithm; "" in a command without sections."""

Fields = Mapping[str, Mapping[str, FieldInfo]]
"""Section -> name -> field."""

NEAR = 0.7
"""Smallest similarity (0 to 1) of a flag that is suggested in place of an unknown one."""
METAVARS = {int: "INT", float: "FLOAT", str: "TEXT"}
NEGATIVE = re.compile(r"-(?:[.\d]|(?:inf|nan)$)")
"""Beginning of a value that argparse could mistake for a flag."""


class Argument(NamedTuple):
    """One flag or positional argument."""

    section: str
    name: str
    field: FieldInfo

    @property
    def place(self) -> str | None:
        """Displayed name of a positional argument, in brackets if optional; None for a flag."""
        name = next((each.name for each in self.field.metadata if isinstance(each, Positional)), None)
        return name if name is None or self.field.is_required() else f"[{name}]"

    @property
    def flag(self) -> str:
        """Spelling of the flag."""
        spelled = next((each.name for each in self.field.metadata if isinstance(each, Spelling)), self.name)
        return flag(spelled)

    @property
    def arity(self) -> dict[str, Any]:
        """Keyword arguments of `argparse.add_argument` for the value."""
        if self.field.annotation is bool:
            return {"action": argparse.BooleanOptionalAction}
        if get_origin(kind(self.field)) is tuple:
            return {"nargs": "*", "metavar": "TEXT"}
        words = choices(self.field)
        return {
            "metavar": f"{{{','.join(words)}}}" if len(words) > 1 else METAVARS.get(kind(self.field), "TEXT")
        }

    def value(self, word: Any) -> Any:
        """Return the value of a word: None for "None" if the field allows it, else the word."""
        return None if word == "None" and is_optional(self.field) else word


def fields_of(models: Models) -> Fields:
    """Return the fields of a command in the order of its sections; the first of each name."""
    fields: dict[str, dict[str, FieldInfo]] = {section: {} for section in models}
    for section, alternatives in models.items():
        for model in alternatives:
            for name, field in model.model_fields.items():
                fields[section].setdefault(name, field)
    return fields


def arguments_of(models: Models) -> list[Argument]:
    """Return the arguments of a command."""
    fields = fields_of(models)
    return [Argument(section, *item) for section in fields for item in fields[section].items()]


class Words(NamedTuple):
    """Values that a command line sets.

    Attributes:
        layer: values by section; each is a string, True, False, None, or a list of strings.
        want_help: whether --help is given; then only argparse has checked the words.
    """

    layer: Layer
    want_help: bool


def read_words(models: Models, argv: Sequence[str], *, prog: str) -> Words:
    """Return the values that a command line sets.

    Args:
        models: of the command.
        argv: words after its name.
        prog: the command.

    Raises:
        ConfigError: a flag is unknown or has no value, or there are too many or too few positional arguments.
    """
    arguments = arguments_of(models)
    flags = {each.flag: each for each in arguments if each.place is None}
    parser = argparse.ArgumentParser(
        prog=prog, add_help=False, allow_abbrev=False, exit_on_error=False, argument_default=argparse.SUPPRESS
    )
    parser.add_argument("-h", "--help", dest="help", action="store_true")
    for name, each in flags.items():
        parser.add_argument(name, dest=name, **each.arity)
    try:
        found, strays = parser.parse_known_args(list(_normalized(argv)))
    except argparse.ArgumentError as error:
        raise ConfigError(_without_its_value(error.argument_name or "", argv)) from None
    want_help = vars(found).pop("help", False)
    places = [each for each in arguments if each.place is not None]
    if not want_help:
        _require_known(strays, flags, prog)
        _require_places(strays, [str(each.place) for each in places], argv, flags, prog)
    layer: Layer = {section: {} for section in models}
    words = [(flags[name], word) for name, word in vars(found).items()]
    for each, word in [*zip(places, strays, strict=False), *words]:
        layer[each.section][each.name] = each.value(word)
    return Words(layer, want_help)


def format_help(models: Models, below: Layer, *, prog: str, about: str) -> str:
    """Return the help page of a command.

    Args:
        models: of the command.
        below: settings that replace the fields' own defaults.
        prog: the command.
        about: its description.
    """
    parser = argparse.ArgumentParser(prog=prog, description=about)
    groups = {
        section: parser.add_argument_group(section, alternatives[0].__doc__) if section else parser
        for section, alternatives in models.items()
    }
    places = list[str]()
    for each in arguments_of(models):
        text = _help(each, below).replace("%", "%%")
        if each.place is not None:
            places.append(each.place)
            groups[each.section].add_argument(each.place, help=text)
        else:
            groups[each.section].add_argument(each.flag, help=text, **each.arity)
    parser.usage = " ".join([prog, *places, "[FLAGS]"])
    return parser.format_help()


def _help(argument: Argument, below: Layer) -> str:
    """Return description, range and default of a flag; the description explains a default of None."""
    field = argument.field
    default = below.get(argument.section, {}).get(argument.name, field.default)
    default = " ".join(default) if isinstance(default, list | tuple) else default
    notes = [] if kind(field) is str else list(filter(None, [bounds(field)]))
    if not (field.is_required() or default in (None, "")):
        notes.append(f"default: {default}")
    return (field.description or "") + (f" ({'; '.join(notes)})" if notes else "")


def _normalized(argv: Sequence[str]) -> Iterator[str]:
    """Yield the words, with dashes in flags and with negative numbers joined to the flag before them."""
    words = list(argv)
    while words:
        name, equals, value = words.pop(0).partition("=")
        if name.startswith("--"):
            name = name.replace("_", "-")
            if not equals and words and NEGATIVE.match(words[0]):
                equals, value = "=", words.pop(0)
        yield name + equals + value


def _require_places(
    words: Sequence[str], places: Sequence[str], argv: Sequence[str], flags: Mapping[str, Argument], prog: str
) -> None:
    """Raise ConfigError if there are too few or too many positional arguments."""
    usage = " ".join([prog, *places, "[FLAGS]"])
    required = [place for place in places if not place.startswith("[")]
    if len(words) < len(required):
        raise ConfigError(f"{required[len(words)]} is missing; allowed: {usage}")
    if len(words) <= len(places):
        return
    for before, word in itertools.pairwise(argv):
        name = before.replace("_", "-").replace("--no-", "--", 1)
        if word in words and name in flags and "action" in flags[name].arity:
            raise ConfigError(_switch(name, word, before.replace("_", "-")))
    raise ConfigError(f"{words[len(places)]}: unexpected argument; allowed: {usage}")


def _without_its_value(names: str, argv: Sequence[str]) -> str:
    """Return the error for a flag without a value, or for a switch (with two names) that has one."""
    if "/" not in names:
        return f"{names}: needs a value"
    for word in _normalized(argv):
        name, equals, value = word.partition("=")
        if equals and name in names.split("/"):
            return _switch(names.split("/")[0], value, name)
    raise AssertionError(names)


def _switch(name: str, value: str, said: str) -> str:
    return f"{said} {shown(value)}: allowed: {name} or {name.replace('--', '--no-', 1)}, without a value"


def _require_known(words: Sequence[str], flags: Collection[str], prog: str) -> None:
    """Raise ConfigError if a word that argparse did not recognize looks like a flag."""
    unknown = next((word for word in words if word.startswith("-") and not NEGATIVE.match(word)), None)
    if unknown is None:
        return
    name = unknown.partition("=")[0]
    word = name.lstrip("-")
    if near := difflib.get_close_matches(word, [each.removeprefix("--") for each in flags], 1, NEAR):
        raise ConfigError(f"{name}: no such flag. Perhaps you meant: --{near[0]}")
    key = word.replace("-", "_")
    also = f" (for the environment: --env-args {key}=VALUE)" if "--env-args" in flags else ""
    raise ConfigError(f"{name}: no such flag; {prog} --help lists them{also}")
