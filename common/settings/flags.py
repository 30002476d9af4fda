"""Commands and their flags: models made of sections, filled from a command line and from settings files.

A user's mistake raises `ConfigError` with one line that names the flag, the value and what is allowed.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from pydantic import SerializeAsAny, create_model

from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.arguments import Layer, Models, fields_of, format_help, read_words
from graspfleet.common.settings.config import (
    AlgorithmConfig,
    EnvConfig,
    RateConfig,
    ReplayConfig,
    ReturnConfig,
)
from graspfleet.common.settings.env_args import parse_env_args
from graspfleet.common.settings.layers import locating_mistakes, settle
from graspfleet.common.settings.processes import (
    ActorConfig,
    EvaluatorConfig,
    LaunchConfig,
    LearnerConfig,
    RunConfig,
)
from graspfleet.common.settings.section import Section, flag
from graspfleet.common.settings.transport import TransportConfig

Command = TypeVar("Command", bound=Section)
Algorithms = Mapping[str, type[AlgorithmConfig]]
"""Name -> settings of each algorithm."""


class RunFlags(Section):
    """Sections of every command that takes part in a run."""

    run: RunConfig = RunConfig()
    env: EnvConfig = EnvConfig()
    returns: ReturnConfig = ReturnConfig()


class ActorFlags(RunFlags):
    """Step environments and stream their transitions to a learner."""

    actor: ActorConfig = ActorConfig()
    transport: TransportConfig = TransportConfig()


class EvaluatorFlags(ActorFlags):
    """Evaluate a learner's newest policy in deterministic episodes, and report the results to it."""

    evaluator: EvaluatorConfig = EvaluatorConfig()


class LearnerFlags(RunFlags):
    """Own the replay, learn from the actors' transitions, and publish the policy."""

    algorithm: SerializeAsAny[AlgorithmConfig] = AlgorithmConfig()
    replay: ReplayConfig = ReplayConfig()
    rate: RateConfig = RateConfig()
    learner: LearnerConfig = LearnerConfig()
    transport: TransportConfig = TransportConfig()


class TrainFlags(LearnerFlags):
    """Train on this machine, with one learner, one or more actors and one evaluator."""

    actor: ActorConfig = ActorConfig()
    evaluator: EvaluatorConfig = EvaluatorConfig()
    launch: LaunchConfig = LaunchConfig()
    transport: TransportConfig = TransportConfig(experience_port=0, weights_port=0, control_port=0)


def parse(
    command: type[Command], argv: Sequence[str], *, prog: str, algorithms: Algorithms | None = None
) -> Command:
    """Return the resolved settings of one command.

    Args:
        command: model whose sections, or whose fields if it has none, become flags.
        argv: words after the command's name.
        prog: name for the help page.
        algorithms: settings of each algorithm by name, for a command that has the section `algorithm`.

    Raises:
        ConfigError: a flag or a settings file is invalid.
        SystemExit: 0, after --help.
    """
    if not issubclass(command, RunFlags):
        models: dict[str, Sequence[type[Section]]] = {"": (command,)}
        words = read_words(models, argv, prog=prog)
        if words.want_help:
            _show(format_help(models, {}, prog=prog, about=""))
        return _with_env_args(command(**words.layer[""]))
    known = algorithms or {}
    models = {section: (model,) for section, model in _sections(command).items()}
    if "algorithm" in models:
        models["algorithm"] = tuple(known.values()) or models["algorithm"]
    words = read_words(models, argv, prog=prog)
    settled = settle(words.layer, _own_defaults(command), {**SECTIONS, **models}, known)
    if known and "algorithm" in models:
        command = _with_algorithm(command, known[settled.algorithm])
        models["algorithm"] = (known[settled.algorithm],)
        for name in words.layer["algorithm"].keys() - known[settled.algorithm].model_fields.keys():
            raise ConfigError(
                f"{flag(name)}: not a flag of --algorithm {settled.algorithm};"
                f" {prog} --algorithm {settled.algorithm} --help lists its flags"
            )
    if words.want_help:
        choice = f" Algorithms: {', '.join(known)}." if known else ""
        _show(format_help(models, settled.values, prog=prog, about=f"{command.__doc__}{choice}"))
    with locating_mistakes(settled.files, fields_of({**SECTIONS, **models})):
        values = {section: settled.values.get(section, {}) for section in models if section != "run"}
        return _with_env_args(command(run=settled.run, **values))


def _show(page: str) -> NoReturn:
    print(page, end="")
    raise SystemExit(0)


def _sections(command: type[Section]) -> dict[str, Any]:
    """Return the models of a command's sections by name."""
    return {name: field.annotation for name, field in command.model_fields.items()}


def _own_defaults(command: type[Section]) -> Layer:
    """Return the defaults of a command that differ from those of its sections."""
    return {
        name: field.default.model_dump(exclude_unset=True) for name, field in command.model_fields.items()
    }


def _with_env_args(flags: Command) -> Command:
    """Return the settings after checking that all environment arguments can be parsed.

    Raises:
        ConfigError: one cannot be parsed.
    """
    for section in (flags, *(value for _, value in flags if isinstance(value, Section))):
        for name in ("env_args", "eval_env_args"):
            parse_env_args(getattr(section, name, ()), name)
    return flags


@functools.cache
def _with_algorithm(command: type[Command], settings: type[AlgorithmConfig]) -> type[Command]:
    """Return the command with the settings of one algorithm."""
    field: Any = (settings, settings())
    return create_model(command.__name__, __base__=command, __doc__=command.__doc__, algorithm=field)


SECTIONS: Models = {name: (model,) for name, model in _sections(TrainFlags).items()}
"""Sections of settings files; each command uses those that it needs."""
