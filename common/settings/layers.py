"""Precedence of settings: flags > --config file > resumed run or preset > defaults."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from graspfleet.common.errors import ConfigError, shown
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.arguments import Fields, Layer, Models, fields_of
from graspfleet.common.settings.config import AlgorithmConfig, EnvConfig
from graspfleet.common.settings.files import as_layer, load_yaml, preset, require_settings
from graspfleet.common.settings.processes import RunConfig

EXCLUSIVE = (
    ("rate", "updates_per_step", ("samples_per_insert",)),
    ("transport", "keys", ("learner_secret", "allowed", "learner_public", "actor_secret")),
    ("run", "resume", ("run_dir", "preset")),
)
"""Section, a setting, and the settings that it excludes. Either side, set in a layer, unsets the other in the
layers below."""


class Settled(NamedTuple):
    """Settings of one command.

    Attributes:
        run: the section `run`.
        algorithm: name of the algorithm.
        values: of all other sections, not yet validated.
        files: content of each file by flag and path, so that an error can name its place.
    """

    run: RunConfig
    algorithm: str
    values: Layer
    files: dict[str, Layer]


def settle(words: Layer, defaults: Layer, models: Models, algorithms: Collection[str]) -> Settled:
    """Return the combined settings of a command line, the files that it names, and the defaults.

    Args:
        words: values of the flags.
        defaults: of the command; modified.
        models: sections that a file may have.
        algorithms: names of all algorithms; empty for a command that does not learn.

    Raises:
        ConfigError: a file cannot be read, or the run, preset or algorithm does not exist.
    """
    files, fields = dict[str, Layer](), fields_of(models)

    def read(path: Path, name: str) -> Layer:
        source = f"{name} {path}"
        files[source] = as_layer(load_yaml(path, name), fields, source)
        return {section: dict(values) for section, values in files[source].items()}

    config = words["run"].get("config")
    file = Layer() if config is None else read(Path(config), "--config")
    if "config" in file.get("run", {}):
        raise ConfigError(f"--config {config}: run: config is allowed only as a flag")
    of_run: Layer = {"run": file.pop("run", {})}
    merge(of_run, {"run": words["run"]})
    with locating_mistakes(files, fields):
        run = RunConfig(**of_run["run"])
    resumed, below = _resumed(run), Layer()
    if resumed is not None:
        run = RunConfig(resume=resumed, auto_resume=run.auto_resume)
        below = read(Path(resumed) / "config.yaml", "--resume")
    elif run.preset is not None or config is None:  # a file without a preset is complete
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
def locating_mistakes(files: Mapping[str, Layer], fields: Fields) -> Iterator[None]:
    """Replace a ConfigError by one that names the place in a file, if a file caused it."""
    try:
        yield
    except ConfigError:
        for source, layer in files.items():
            require_settings(layer, fields, source)
        raise


def merge(into: Layer, above: Layer) -> None:
    """Merge the layer `above` into `into`; its values take precedence."""
    give_way(into, above)
    for section, values in above.items():
        into.setdefault(section, {}).update(values)


def give_way(below: Layer, above: Mapping[str, Mapping[str, Any]]) -> None:
    """Unset settings of the lower layers that the upper one excludes; conflicts in one layer fail later."""
    for section, one, others in EXCLUSIVE:
        said = {name for name, value in above.get(section, {}).items() if value is not None}
        if (one in said) != bool(said.intersection(others)):
            for name in others if one in said else (one,):
                below.setdefault(section, {})[name] = None


def choose_algorithm(said: str | None, file: Layer, below: Layer) -> str:
    """Return the name of the algorithm, and remove the settings of any other algorithm from both layers.

    Args:
        said: value of --algorithm.
        file: takes precedence over `below`; if it names no algorithm, its settings are for that of `below`.
        below: if it names no algorithm, its settings are for the default one.
    """
    lower = below.get("algorithm", {}).get("algorithm", AlgorithmConfig().algorithm)
    upper = file.get("algorithm", {}).get("algorithm", lower)
    chosen = said or upper
    for layer, name in ((file, upper), (below, lower)):
        if name != chosen:
            layer.pop("algorithm", None)
    return str(chosen)
