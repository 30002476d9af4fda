"""Words of a command line -> models, by tyro; a mistake is one line.

Some words decide which settings lie below the others. They are read first, by the same parser as all words,
so both understand the same: dashes or underscores, `--name value` or `--name=value`, the last of several.
"""

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import tyro

from common.config import RunConfig, Section
from common.errors import ConfigError

Words = TypeVar("Words", bound=Section)

REWORDED = (
    (
        r"Error parsing (\S+): no type matching {None}\|INT .* from \['(.*?)'\]",
        "{} {}: allowed is an integer or None",
    ),
    (
        r"Error parsing (\S+): no type matching {None}\|FLOAT .* from \['(.*?)'\]",
        "{} {}: allowed is a number or None",
    ),
    (r"Error parsing (\S+): invalid literal for int.*: '(.*)'", "{} {}: allowed is an integer"),
    (r"Error parsing (\S+): could not convert string to float: '(.*)'", "{} {}: allowed is a number"),
    (r"invalid choice '(.*)' for argument '(\S+)'\. Expected one of \((.*)\)", "{1} {0}: allowed: {2}"),
    (r"Missing value for argument '(\S+)'", "{}: needs a value"),
    (r"Missing from .*? (--\S+)", "{}: needs a value"),
)
"""tyro's sentences, and ours for them: the flag, the value and what is allowed."""


class EarlyWords(RunConfig):
    """Words that decide which settings lie below the flags: run, environment, algorithm, and pairs.

    Of two settings of which only one may be said (see `common.layers`), None is one that has not been said.
    """

    env: str | None = None
    algorithm: str | None = None
    updates_per_step: float | None = None
    samples_per_insert: float | None = None
    keys: str | None = None
    learner_secret: str | None = None
    allowed: str | None = None
    learner_public: str | None = None
    actor_secret: str | None = None


def read_words(model: type[Words], argv: Sequence[str], *, prog: str, default: Any = tyro.MISSING) -> Words:
    """Return a model filled from all words.

    Raises:
        ConfigError: anything that the user wrote is wrong.
        SystemExit: 0, after --help.
    """
    with _one_line_errors():
        words: Words = tyro.cli(
            model, args=list(argv), prog=prog, default=default, config=(tyro.conf.OmitArgPrefixes,)
        )
    return words


def early_words(argv: Sequence[str], run: RunConfig | None = None) -> EarlyWords:
    """Return the words that come first; the others are passed over.

    Args:
        argv: all words.
        run: what holds where they say nothing.

    Raises:
        ConfigError: one of these words is wrong.
    """
    default = EarlyWords(**(run or RunConfig()).model_dump())
    with _one_line_errors():
        words: EarlyWords
        words, _ = tyro.cli(
            EarlyWords,
            args=list(argv),
            default=default,
            return_unknown_args=True,
            add_help=False,
            config=(tyro.conf.OmitArgPrefixes,),
        )
    return words


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as left:
        if not left.code:
            raise
        raise ConfigError(_one_line(said.getvalue())) from None


def _one_line(said: str) -> str:
    """Return tyro's error box as one line of text, in our words where it speaks of Python's types."""
    text = " ".join(re.sub(r"[─-╿]", " ", said).split())
    text = re.sub(r"^(Parsing error|Value error|Required options)\s*", "", text)
    text = text.split(" Argument helptext:")[0].split(" For full helptext")[0]
    for pattern, words in REWORDED:
        if found := re.search(pattern, text):
            return words.format(*(part.replace("'", "") for part in found.groups()))
    return text
