"""Precedence of settings: flags > --config file > resumed run or preset > defaults."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.arguments import Fields, Layer, Models, fields_of
from graspfleet.common.settings.config import AlgorithmConfig, EnvConfig
from graspfleet.common.settings.files import as_layer, load_yaml, preset, require_settings
from graspfleet.common.settings.processes import RunConfig
from graspfleet.common.settings.section import shown

EXCLUSIVE = (
    ("rate", "updates_per_step", ("samples_per_insert",)),
    ("transport", "keys", ("learner_secret", "allowed", "learner_public", "actor_secret")),
    ("run", "resume", ("run_dir", "preset")),
)
"""Section, a setting, and those it excludes. What a layer says takes the place of the others below it."""


class Settled(NamedTuple):
    """Settings of one command.

    Attributes:
        run: which run is meant.
        algorithm: name of the algorithm.
        values: of all other sections, not checked yet.
        files: content of each file by flag and path, for mistakes to be told with their place.
    """

    run: RunConfig
    algorithm: str
    values: Layer
    files: dict[str, Layer]


def settle(words: Layer, defaults: Layer, models: Models, algorithms: Collection[str]) -> Settled:
    """Return the settings that a command line, the files that it names, and the defaults make together.

    Args:
        words: values of the flags.
        defaults: of the command.
        models: sections that a file may have.
        algorithms: names of those that there are; empty for a command that does not learn.

    Raises:
        ConfigError: a file cannot be read, or there is no such run, preset or algorithm.
    """
    files, fields = dict[str, Layer](), fields_of(models)

    def read(path: Path, name: str) -> Layer:
        source = f"{name} {path}"
        files[source] = as_layer(load_yaml(path, name), fields, source)
        return {section: dict(values) for section, values in files[source].items()}

    config = words["run"].get("config")
    file = Layer() if config is None else read(Path(config), "--config")
    if "config" in file.get("run", {}):
        raise ConfigError(f"--config {config}: run: config is allowed as a flag alone")
    told: Layer = {"run": file.pop("run", {})}
    merge(told, {"run": words["run"]})
    with placing_mistakes(files, fields):
        run = RunConfig(**told["run"])
    resumed, below = _resumed(run), Layer()
    if resumed is not None:
        run = RunConfig(resume=resumed, auto_resume=run.auto_resume)
        below = read(Path(resumed) / "config.yaml", "--resume")
    elif run.preset is not None or config is None:  # a file without a preset says it all
        env = next((layer["env"]["env"] for layer in (words, file) if "env" in layer.get("env", {})), None)
        below = as_layer(preset(run.preset, env or EnvConfig().env), fields, "--preset")
    algorithm = choose_algorithm(words.get("algorithm", {}).get("algorithm"), file, below)
    if algorithms and algorithm not in algorithms:
        raise ConfigError(f"--algorithm {shown(algorithm)}: allowed: {', '.join(sorted(algorithms))}")
    for layer in (below, file, words):
        merge(defaults, layer)
    return Settled(run, algorithm, defaults, files)


def _resumed(run: RunConfig) -> str | None:
    """Return the directory of the run to continue; None for a new one."""
    if run.auto_resume and run.run_dir is not None and RunDirectory(run.run_dir).has_begun():
        return run.run_dir
    return run.resume


@contextlib.contextmanager
def placing_mistakes(files: Mapping[str, Layer], fields: Fields) -> Iterator[None]:
    """Tell a mistake that a file makes with its place in the file."""
    try:
        yield
    except ConfigError:
        for source, layer in files.items():
            require_settings(layer, fields, source)
        raise


def merge(into: Layer, above: Layer) -> None:
    """Lay one layer over the others."""
    give_way(into, above)
    for section, values in above.items():
        into.setdefault(section, {}).update(values)


def give_way(below: Layer, above: Mapping[str, Mapping[str, Any]]) -> None:
    """Take out of the lower layers what those above exclude; who says both in one layer hears of it later."""
    for section, one, others in EXCLUSIVE:
        said = {name for name, value in above.get(section, {}).items() if value is not None}
        if (one in said) != bool(said.intersection(others)):
            for name in others if one in said else (one,):
                below.setdefault(section, {})[name] = None


def choose_algorithm(said: str | None, file: Layer, below: Layer) -> str:
    """Return the name of the algorithm, and take settings of another one out of both layers.

    Args:
        said: the flag.
        file: goes before `below`, and means the same algorithm where it names none.
        below: means the default where it names none.
    """
    lower = below.get("algorithm", {}).get("algorithm", AlgorithmConfig().algorithm)
    upper = file.get("algorithm", {}).get("algorithm", lower)
    chosen = said or upper
    for layer, name in ((file, upper), (below, lower)):
        if name != chosen:
            layer.pop("algorithm", None)
    return str(chosen)
