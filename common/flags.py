"""Command lines and YAML files -> config models. Flags go before --config, that before --preset.

A user's mistake leaves here as one `ConfigError` line that names the flag, the value and what is allowed.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SerializeAsAny, create_model

from common.command_line import early_words, read_words
from common.command_words import require_words
from common.config import (
    ActorConfig,
    AlgorithmConfig,
    EnvConfig,
    EvaluatorConfig,
    LaunchConfig,
    LearnerConfig,
    RateConfig,
    ReplayConfig,
    ReturnConfig,
    RunConfig,
    Section,
    TransportConfig,
    flag,
)
from common.errors import ConfigError
from common.layers import EXCLUSIVE, Layer, as_layer, choose_algorithm, give_way, merge, require_settings
from common.plain_yaml import format_yaml, parse_yaml
from common.runtime.files import read_limited
from common.runtime.run_directory import RunDirectory

PRESETS = Path(__file__).parent / "presets"
PLAIN = "plain"
MAX_SETTINGS_BYTES = 1 << 20
"""A larger file holds no settings."""
Command = TypeVar("Command", bound=Section)
Algorithms = Callable[[str], type[AlgorithmConfig]]
"""The settings of the algorithm of a name; raises ConfigError where there is none."""


class ActorFlags(Section):
    """Step environments and stream their transitions to a learner."""

    run: RunConfig = RunConfig()
    env: EnvConfig = EnvConfig()
    returns: ReturnConfig = ReturnConfig()
    actor: ActorConfig = ActorConfig()
    transport: TransportConfig = TransportConfig()


class EvaluatorFlags(ActorFlags):
    """Follow a learner's weights with deterministic episodes, and report them to it."""

    evaluator: EvaluatorConfig = EvaluatorConfig()


class LearnerFlags(Section):
    """Own the replay, learn from what actors send, and publish the policy."""

    run: RunConfig = RunConfig()
    env: EnvConfig = EnvConfig()
    returns: ReturnConfig = ReturnConfig()
    algorithm: SerializeAsAny[AlgorithmConfig] = AlgorithmConfig()
    replay: ReplayConfig = ReplayConfig()
    rate: RateConfig = RateConfig()
    learner: LearnerConfig = LearnerConfig()
    transport: TransportConfig = TransportConfig()


class TrainFlags(LearnerFlags):
    """Train on this machine: one learner, some actors, one evaluator."""

    actor: ActorConfig = ActorConfig()
    evaluator: EvaluatorConfig = EvaluatorConfig()
    launch: LaunchConfig = LaunchConfig()
    transport: TransportConfig = TransportConfig(experience_port=0, weights_port=0, control_port=0)


def parse(
    command: type[Command], argv: Sequence[str], *, prog: str, algorithms: Algorithms | None = None
) -> Command:
    """Return the resolved settings of one command.

    Args:
        command: model whose sections become flags.
        argv: words after the command's name.
        prog: name for the help page.
        algorithms: the settings that each algorithm brings, for a command that has a section of these.

    Raises:
        ConfigError: anything that the user wrote is wrong.
        SystemExit: 0, after --help.
    """
    if "run" not in command.model_fields:
        require_words(command, argv, prog=prog)
        return _with_env_args(read_words(command, argv, prog=prog))
    below, run, algorithm, files = _settings_below_flags(argv, algorithms)
    sections = SECTIONS
    if algorithms is not None and "algorithm" in command.model_fields:
        sections = {**SECTIONS, "algorithm": algorithms(algorithm)}
        command = _with_algorithm(command, sections["algorithm"])
    require_words(command, argv, prog=prog)
    try:
        default = command(**{name: below[name] for name in below.keys() & command.model_fields.keys()})
    except ConfigError:
        for source, layer in files.items():  # a setting of a file is told with its place
            require_settings(layer, sections, source)
        raise
    flags = read_words(command, argv, prog=prog, default=default)
    return _with_env_args(flags).model_copy(update={"run": run})


def load_yaml(path: Path, name: str) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Args:
        path: the file.
        name: flag that named it.

    Raises:
        ConfigError: unreadable, or no mapping.
    """
    try:
        data = parse_yaml(read_limited(path, MAX_SETTINGS_BYTES))
    except OSError as error:
        raise ConfigError(f"{name} {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{name} {path}: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name} {path}: allowed is a YAML mapping of sections")
    return data


def dump_yaml(settings: Section) -> str:
    """Return settings as YAML that `--config` takes: all but which run they were for."""
    return format_yaml(settings.model_dump(mode="json", exclude={"run"}))


def parse_env_args(env_args: Iterable[str], name: str = "env_args") -> dict[str, Any]:
    """Return keyword arguments from words like ``physics=fast``.

    Args:
        env_args: the words.
        name: of the setting that has them.

    Raises:
        ConfigError: a word has no ``=`` or no YAML value.
    """
    arguments: dict[str, Any] = {}
    for word in env_args:
        key, equals, value = word.partition("=")
        if not (equals and key.isidentifier()):
            raise ConfigError(f"{flag(name)} {word}: allowed is KEY=VALUE")
        try:
            arguments[key] = parse_yaml(value)
        except ValueError as error:
            raise ConfigError(f"{flag(name)} {word}: {error}") from None
    return arguments


def _with_env_args(flags: Command) -> Command:
    """Return the settings, in which all arguments of environments can be read.

    Raises:
        ConfigError: they cannot.
    """
    for section in (flags, *(value for _, value in flags if isinstance(value, Section))):
        for name in ("env_args", "eval_env_args"):
            parse_env_args(getattr(section, name, ()), name)
    return flags


def evaluated_env_args(flags: EvaluatorFlags | TrainFlags) -> tuple[str, ...]:
    """Return the arguments of the environment that policies are evaluated in; later words win."""
    return (*flags.env.env_args, *flags.evaluator.eval_env_args)


@functools.cache
def _with_algorithm(command: type[Command], settings: type[AlgorithmConfig]) -> type[Command]:
    """Return the command with the settings of one algorithm."""
    field: Any = (settings, settings())
    return create_model(command.__name__, __base__=command, __doc__=command.__doc__, algorithm=field)


SECTIONS: dict[str, Any] = {name: field.annotation for name, field in TrainFlags.model_fields.items()}
"""Of the files of settings, which every command reads as far as it needs them."""


def _settings_below_flags(
    argv: Sequence[str], algorithms: Algorithms | None
) -> tuple[Layer, RunConfig, str, dict[str, Layer]]:
    """Return settings below the flags, which run is meant, the algorithm's name, and the files by name."""
    said, files, sections = early_words(argv), dict[str, Layer](), dict(SECTIONS)
    if algorithms is not None:
        sections["algorithm"] = algorithms(AlgorithmConfig().algorithm)  # its settings may be misplaced

    def read(path: Path, name: str) -> Layer:
        source = f"{name} {path}"
        files[source] = as_layer(load_yaml(path, name), sections, source)
        return {section: dict(values) for section, values in files[source].items()}

    file = Layer() if said.config is None else read(Path(said.config), "--config")
    flags = {section: said.model_dump() for section, _, _ in EXCLUSIVE}
    words = file.pop("run", {})
    if "config" in words:
        raise ConfigError(f"--config {said.config}: run: config is allowed as a flag alone")
    run_below: Layer = {"run": words}
    give_way(run_below, flags)
    said = early_words(argv, RunConfig(**run_below["run"]))
    resumed = said.resume
    if said.auto_resume and said.run_dir is not None and RunDirectory(said.run_dir).has_begun():
        resumed = said.run_dir
    run = RunConfig(**said.model_dump(include=set(RunConfig.model_fields)))
    below = Layer()
    if resumed is not None:
        run = RunConfig(resume=resumed, auto_resume=said.auto_resume)
        below = read(Path(resumed) / "config.yaml", "--resume")
    elif said.preset is not None or said.config is None:  # a file without a preset says it all
        env = said.env or file.get("env", {}).get("env") or EnvConfig().env
        below = as_layer(_preset(said.preset, env), sections, "--preset")
    algorithm = choose_algorithm(said.algorithm, file, below)
    merge(below, file)
    give_way(below, flags)
    below.pop("run", None)
    return below, run, algorithm, files


def _preset(name: str | None, env: str) -> dict[str, Any]:
    files = {path.stem: load_yaml(path, "--preset") for path in sorted(PRESETS.glob("*.yaml"))}
    made_for = {str(data.pop("default_for", "")): data for data in files.values()}
    if name is None:
        return made_for.get(env, {})
    if name == PLAIN:
        return {}
    if name not in files:
        raise ConfigError(f"--preset {name}: allowed: {', '.join([PLAIN, *files])}")
    return files[name]
