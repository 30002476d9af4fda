"""Command lines and YAML files -> config models. Flags go before --config, that before --preset.

A user's mistake leaves here as one `ConfigError` line that names the flag, the value and what is allowed.
"""

import argparse
import contextlib
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from pydantic import Field

from common.config import (
    ENV_ARGS,
    ActorConfig,
    EnvConfig,
    EvaluatorConfig,
    KeysConfig,
    LaunchConfig,
    LearnerConfig,
    RateConfig,
    ReplayConfig,
    ReturnConfig,
    RunConfig,
    SACConfig,
    Section,
    TransportConfig,
)
from common.errors import ConfigError
from common.files import read_limited
from common.messages import MAX_EPISODES
from common.plain_yaml import format_yaml, parse_yaml
from common.run_directory import RunDirectory
from common.seeds import HELD_OUT_ROOT

PRESETS = Path(__file__).parent / "presets"
PLAIN = "plain"
MAX_SETTINGS_BYTES = 1 << 20
"""A larger file holds no settings."""
Command = TypeVar("Command", bound=Section)


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
    """Own the replay, run SAC on what actors send, and publish the policy."""

    run: RunConfig = RunConfig()
    env: EnvConfig = EnvConfig()
    returns: ReturnConfig = ReturnConfig()
    sac: SACConfig = SACConfig()
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


class EvaluateFlags(Section):
    """Run deterministic episodes of a run's policy, on seeds that training never saw."""

    run_dir: tyro.conf.Positional[str]
    episodes: int = Field(100, ge=1, description="Episodes.")
    policy: str = Field("best", pattern="^(best|last)$", description="Which policy of the run: best or last.")
    compare_episodes: int | None = Field(
        None,
        ge=0,
        le=MAX_EPISODES,
        description="Episodes of each policy by which to choose the best first; default: as the run says.",
    )
    seed: int = Field(HELD_OUT_ROOT, ge=0, description="Root of the episodes' seeds.")
    env_args: tuple[str, ...] = Field((), description=f"Arguments of the environment: {ENV_ARGS}")
    success_key: str | None = Field(
        None, min_length=1, description="Key of the info that says success; default: the run's."
    )
    headless: bool = Field(True, description="Without a window.")
    video: str | None = Field(None, description="Film the first episodes: path of an MP4 file.")
    video_episodes: int = Field(5, ge=1, description="Episodes in the film.")
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = Field(
        False, description="Print one JSON object."
    )


class StatusFlags(KeysConfig):
    """Show what a running learner says of itself."""

    run_dir: tyro.conf.Positional[str | None] = None
    learner: str = Field("127.0.0.1", description="Host of the learner, without RUN_DIR.")
    control_port: int = Field(5557, ge=1, le=65_535, description="Its control port, without RUN_DIR.")
    timeout_s: float = Field(5.0, gt=0, description="Give up after this.")
    json_output: Annotated[bool, tyro.conf.arg(name="json")] = Field(
        False, description="Print one JSON object."
    )


def parse(command: type[Command], argv: Sequence[str], *, prog: str) -> Command:
    """Return the resolved settings of one command.

    Args:
        command: model whose sections become flags.
        argv: words after the command's name.
        prog: name for the help page.

    Raises:
        ConfigError: anything that the user wrote is wrong.
        SystemExit: 0, after --help.
    """
    default = (
        command(**_settings_below_flags(command, argv)) if "run" in command.model_fields else tyro.MISSING
    )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            flags: Command = tyro.cli(
                command, args=list(argv), prog=prog, default=default, config=(tyro.conf.OmitArgPrefixes,)
            )
    except SystemExit as left:
        if not left.code:
            raise
        raise ConfigError(_one_line(said.getvalue())) from None
    run = getattr(flags, "run", None)
    if run is None or (resume := _resumed(run.resume, run.run_dir, run.auto_resume)) is None:
        return flags
    return flags.model_copy(update={"run": RunConfig(resume=resume, auto_resume=run.auto_resume)})


def _resumed(resume: str | None, run_dir: str | None, auto_resume: bool) -> str | None:
    """Return the run directory to go on with, if the words ask for it."""
    found = auto_resume and run_dir is not None and RunDirectory(run_dir).has_begun()
    return run_dir if resume is None and found else resume


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


def parse_env_args(env_args: Iterable[str]) -> dict[str, Any]:
    """Return keyword arguments from words like ``physics=fast``.

    Raises:
        ConfigError: a word has no ``=`` or no YAML value.
    """
    arguments: dict[str, Any] = {}
    for word in env_args:
        key, equals, value = word.partition("=")
        if not (equals and key.isidentifier()):
            raise ConfigError(f"--env-args {word}: allowed is KEY=VALUE")
        try:
            arguments[key] = parse_yaml(value)
        except ValueError as error:
            raise ConfigError(f"--env-args {word}: {error}") from None
    return arguments


def evaluated_env_args(flags: EvaluatorFlags | TrainFlags) -> tuple[str, ...]:
    """Return the arguments of the environment that policies are evaluated in; later words win."""
    return (*flags.env.env_args, *flags.evaluator.eval_env_args)


def _settings_below_flags(command: type[Section], argv: Sequence[str]) -> dict[str, Any]:
    """Return defaults by section: the preset's, over them the resumed run's, over them the file's."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("config", "preset", "resume", "run-dir", "env"):
        early.add_argument(f"--{name}")
    early.add_argument("--auto-resume", action=argparse.BooleanOptionalAction, default=False)
    try:
        said, _ = early.parse_known_args(list(argv))
    except argparse.ArgumentError:
        return {}  # tyro meets the same mistake and names it
    merged: dict[str, dict[str, Any]] = {}
    resume = _resumed(said.resume, said.run_dir, said.auto_resume)
    if resume is not None:
        _merge(merged, load_yaml(Path(resume) / "config.yaml", "--resume"), "--resume")
        merged.get("run", {}).clear()
    if said.config is not None:
        _merge(merged, load_yaml(Path(said.config), "--config"), "--config")
    env = said.env or merged.get("env", {}).get("env") or EnvConfig().env
    preset = said.preset or merged.get("run", {}).get("preset")
    complete = resume is not None or (said.config is not None and preset is None)
    below = {} if complete else _preset(preset, env)
    _merge(below, merged, "--config")
    return {section: values for section, values in below.items() if section in command.model_fields}


def _merge(into: dict[str, dict[str, Any]], data: dict[str, Any], source: str) -> None:
    sections = TrainFlags.model_fields.keys()
    for section, values in data.items():
        if section not in sections or not isinstance(values, dict):
            raise ConfigError(f"{source}: {section!r} is no section; allowed: {', '.join(sections)}")
        for name in values:
            if not isinstance(name, str):
                raise ConfigError(f"{source}: {section}: {name!r} is no name of a setting")
        into.setdefault(section, {}).update(values)


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


def _one_line(said: str) -> str:
    """Return tyro's error box as one line of text."""
    text = " ".join(re.sub(r"[─-╿]", " ", said).split())
    text = re.sub(r"^(Parsing error|Value error|Unrecognized options|Required options)\s*", "", text)
    return text.split(" Argument helptext:")[0].split(" For full helptext")[0]
