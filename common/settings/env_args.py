"""Arguments of environments: words like `physics=fast`, whose values are YAML."""

from collections.abc import Iterable
from typing import Any

from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.config import EnvConfig
from graspfleet.common.settings.plain_yaml import parse_yaml
from graspfleet.common.settings.processes import EvaluatorConfig
from graspfleet.common.settings.section import flag


def parse_env_args(env_args: Iterable[str], name: str = "env_args") -> dict[str, Any]:
    """Return keyword arguments from words like ``physics=fast``.

    Args:
        env_args: the words.
        name: of the setting that they belong to.

    Raises:
        ConfigError: a word has no ``=`` or no valid YAML value.
    """
    arguments: dict[str, Any] = {}
    for word in env_args:
        key, equals, value = word.partition("=")
        if not (equals and key.isidentifier()):
            raise ConfigError(f"{flag(name)} {word}: allowed: KEY=VALUE")
        try:
            arguments[key] = parse_yaml(value)
        except ValueError as error:
            raise ConfigError(f"{flag(name)} {word}: {error}") from None
    return arguments


def evaluated_env_args(env: EnvConfig, evaluator: EvaluatorConfig) -> tuple[str, ...]:
    """Return the arguments of the environment for evaluation; later words take precedence."""
    return (*env.env_args, *evaluator.eval_env_args)
