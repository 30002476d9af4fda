"""Names and places on a command line, checked before the values are read: every word has one meaning.

In: a model, the words. Out: nothing, or one line that names the word, and what is allowed in its place.
"""

import difflib
import re
from collections.abc import Iterator, Sequence

import tyro
from pydantic.fields import FieldInfo

from common.config import Section, flag
from common.errors import ConfigError

POSITIONAL = tyro.conf.Positional[str].__metadata__[0]  # type: ignore[attr-defined]
NEAR = 0.7
"""Similarity, of 1 at the most, from which on a flag is what was meant."""
BOOL, ONE, MANY = "bool", "one", "many"


def require_words(model: type[Section], argv: Sequence[str], *, prog: str) -> None:
    """Refuse unknown flags, values of flags that have none, and words that are too many or missing.

    Args:
        model: of the command.
        argv: words after its name.
        prog: the command.

    Raises:
        ConfigError: there is one.
    """
    kinds, names = _shape(model)
    words, given, strays = list(argv), list[str](), list[str]()
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        name = name.replace("_", "-")
        if word in ("-h", "--help"):
            return
        if not _is_flag(word):
            given.append(word)
            continue
        if name not in kinds:
            raise ConfigError(_unknown(name, kinds, prog))
        if kinds[name] == BOOL and equals:
            raise ConfigError(_without_value(name, value))
        if kinds[name] == BOOL and words and not _is_flag(words[0]):
            strays.append(f"{name} {words[0]}")
        while kinds[name] != BOOL and not equals and words and not _is_flag(words[0]):
            words.pop(0)
            if kinds[name] == ONE:
                break
    usage = " ".join([prog, *names, "[FLAGS]"])
    if len(given) > len(names):
        raise ConfigError(
            _without_value(*strays[0].split(" ", 1))
            if strays
            else f"{given[len(names)]}: no flag, and no value of one; allowed: {usage}"
        )
    required = [name for name in names if not name.startswith("[")]
    if len(given) < len(required):
        raise ConfigError(f"{required[len(given)]} is missing; allowed: {usage}")


def _shape(model: type[Section]) -> tuple[dict[str, str], list[str]]:
    """Return the flags of a command with what follows them, and its positional words as they are shown."""
    kinds, names = dict[str, str](), list[str]()
    for name, field in _fields(model):
        label = next((each.name for each in field.metadata if getattr(each, "name", None)), name)
        if POSITIONAL in field.metadata:
            label = label.upper()
            names.append(label if field.is_required() else f"[{label}]")
        elif field.annotation is bool:
            kinds[flag(label)] = kinds[flag(f"no_{label}")] = BOOL
        else:
            kinds[flag(label)] = MANY if "tuple" in str(field.annotation) else ONE
    return kinds, names


def _fields(model: type[Section]) -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _fields(field.annotation)
        else:
            yield name, field


def _is_flag(word: str) -> bool:
    """Return whether a word is meant as a flag; a negative number is none."""
    return re.match(r"-[-A-Za-z]", word) is not None and word not in ("-inf", "-nan")


def _unknown(name: str, kinds: dict[str, str], prog: str) -> str:
    word, known = name.lstrip("-"), [each.removeprefix("--") for each in kinds]
    if near := difflib.get_close_matches(word, known, 1, NEAR):
        return f"{name}: no such flag. Perhaps you meant: --{near[0]}"
    also = (
        f" (for the environment: --env-args {word.replace('-', '_')}=VALUE)" if "--env-args" in kinds else ""
    )
    return f"{name}: no such flag; {prog} --help lists them{also}"


def _without_value(name: str, value: str) -> str:
    yes = name.replace("--no-", "--")
    return f"{name} {value}: allowed is {yes} or {yes.replace('--', '--no-', 1)}, without a value"
