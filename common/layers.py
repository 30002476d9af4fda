"""Layers of settings: a preset, over it a resumed run's, over it those of a file, over it the flags."""

import difflib
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from common.config import AlgorithmConfig, Section, explain
from common.errors import ConfigError

Sections = Mapping[str, type[Section]]
Layer = dict[str, dict[str, Any]]
"""Section -> name -> value."""

OPEN = "algorithm"
"""Section whose settings are known once it is known which algorithm is meant."""

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


def as_layer(data: Mapping[Any, Any], sections: Sections, source: str) -> Layer:
    """Return the content of a settings file as a layer.

    Raises:
        ConfigError: it has other sections or settings than these, or a section is none.
    """
    for section, values in data.items():
        if section not in sections:
            home = _home_of(section, sections)
            meant = f"; it belongs to section {home}" if home else _near(section, sections)
            raise ConfigError(f"{source}: {section!r} is no section{meant}; allowed: {', '.join(sections)}")
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: {section}: {values!r} is no mapping; allowed: NAME: VALUE below it")
        for name in values:
            if not isinstance(name, str):
                raise ConfigError(f"{source}: {section}: {name!r} is no name of a setting")
            if section != OPEN and name not in sections[section].model_fields:
                raise ConfigError(f"{source}: {section}: {name}: {_elsewhere(name, section, sections)}")
    return {section: dict(values) for section, values in data.items()}


def require_settings(layer: Layer, sections: Sections, source: str) -> None:
    """Refuse a layer with a setting that there is not, or a value that is not allowed for itself alone.

    Raises:
        ConfigError: the first such setting, and where it is.
    """
    for section, values in layer.items():
        for name, value in values.items():
            if (field := sections[section].model_fields.get(name)) is None:
                raise ConfigError(f"{source}: {section}: {name}: {_elsewhere(name, section, sections)}")
            checked: Any = Annotated[field.annotation, field]
            try:
                TypeAdapter(checked).validate_python(value)
            except ValidationError as error:
                raise ConfigError(f"{source}: {section}: {explain(error, name)}") from None


def _elsewhere(name: str, section: str, sections: Sections) -> str:
    """Return what may be meant by a setting that a section does not have."""
    own = sections[section].model_fields
    if home := _home_of(name, sections):
        return f"no setting of this section; it belongs to section {home}"
    if meant := _near(name, own):
        return f"no such setting{meant}"
    everywhere = {each: home for home, model in sections.items() for each in model.model_fields}
    if near := difflib.get_close_matches(name, everywhere, 1):
        return f"no such setting; perhaps you meant {near[0]}, of section {everywhere[near[0]]}"
    return f"no such setting; allowed: {', '.join(own)}"


def _home_of(name: object, sections: Sections) -> str | None:
    """Return the section of a setting; None if there is none of that name."""
    return next((home for home, model in sections.items() if name in model.model_fields), None)


def _near(name: object, names: Collection[str]) -> str:
    near = difflib.get_close_matches(str(name), names, 1)
    return f"; perhaps you meant {near[0]}" if near else ""
