"""Layers of settings: a preset, over it a resumed run's, over it those of a file, over it the flags."""

from collections.abc import Collection, Mapping
from typing import Any

from common.config import AlgorithmConfig
from common.errors import ConfigError

Layer = dict[str, dict[str, Any]]
"""Section -> name -> value."""

EXCLUSIVE = (
    ("rate", "updates_per_step", ("samples_per_insert",)),
    ("transport", "keys", ("learner_secret", "allowed", "learner_public", "actor_secret")),
    ("run", "resume", ("run_dir", "preset")),
)
"""Section, a setting, and those it excludes. What a layer says takes the place of the others below it."""


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


def as_layer(data: Mapping[Any, Any], sections: Collection[str], source: str) -> Layer:
    """Return the content of a settings file as a layer.

    Raises:
        ConfigError: it has other sections than these, or what is none.
    """
    for section, values in data.items():
        if section in sections and not isinstance(values, dict):
            raise ConfigError(f"{source}: {section}: {values!r} is no mapping; allowed: NAME: VALUE below it")
        if section not in sections:
            raise ConfigError(f"{source}: {section!r} is no section; allowed: {', '.join(sections)}")
        for name in values:
            if not isinstance(name, str):
                raise ConfigError(f"{source}: {section}: {name!r} is no name of a setting")
    return {section: dict(values) for section, values in data.items()}
