"""Settings files in YAML with one mapping per section: `--config`, presets, and a run's `config.yaml`."""

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.files import read_limited
from graspfleet.common.settings.arguments import Fields, Layer
from graspfleet.common.settings.plain_yaml import format_yaml, parse_yaml
from graspfleet.common.settings.section import Section, explain_value

PRESETS = Path(__file__).parent / "presets"
PLAIN = "plain"
MAX_SETTINGS_BYTES = 1 << 20
"""Largest settings file, bytes."""
OPEN = "algorithm"
"""Section whose settings are unknown to commands that do not learn."""


def load_yaml(path: Path, name: str) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Args:
        path: the file.
        name: flag that named it.

    Raises:
        ConfigError: the file is unreadable or contains no mapping.
    """
    try:
        data = parse_yaml(read_limited(path, MAX_SETTINGS_BYTES))
    except OSError as error:
        raise ConfigError(f"{name} {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{name} {path}: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name} {path}: allowed: a YAML mapping of sections")
    return data


def dump_yaml(settings: Section) -> str:
    """Return settings as YAML for `--config`, without the section `run`."""
    return format_yaml(settings.model_dump(mode="json", exclude={"run"}))


def preset(name: str | None, env: str) -> dict[str, Any]:
    """Return the settings of a preset.

    Args:
        name: of the preset; None: the one made for the environment, if any.
        env: id of the environment.

    Raises:
        ConfigError: there is no preset of that name.
    """
    files = {path.stem: load_yaml(path, "--preset") for path in sorted(PRESETS.glob("*.yaml"))}
    made_for = {str(data.pop("default_for", "")): data for data in files.values()}
    if name is None:
        return made_for.get(env, {})
    if name == PLAIN:
        return {}
    if name not in files:
        raise ConfigError(f"--preset {name}: allowed: {', '.join([PLAIN, *files])}")
    return files[name]


def as_layer(data: Mapping[Any, Any], fields: Fields, source: str) -> Layer:
    """Return the content of a settings file as a layer.

    Raises:
        ConfigError: a section or setting is unknown, or a section is not a mapping.
    """
    for section, values in data.items():
        if section not in fields:
            home = _home_of(section, fields)
            meant = f"; it belongs to section {home}" if home else _near(section, fields)
            raise ConfigError(f"{source}: {section!r} is not a section{meant}; allowed: {', '.join(fields)}")
        if not isinstance(values, dict):
            raise ConfigError(f"{source}: {section}: {values!r} is not a mapping; allowed: NAME: VALUE lines")
        for name in values:
            if not isinstance(name, str):
                raise ConfigError(f"{source}: {section}: {name!r} is not the name of a setting")
            if section != OPEN and name not in fields[section]:
                raise ConfigError(f"{source}: {section}: {name}: {_elsewhere(name, section, fields)}")
    return {section: dict(values) for section, values in data.items()}


def require_settings(layer: Layer, fields: Fields, source: str) -> None:
    """Check that each setting of a layer exists and that its value, taken by itself, is allowed.

    Raises:
        ConfigError: one is not; the line names the first such setting and its place.
    """
    for section, values in layer.items():
        for name, value in values.items():
            if (field := fields[section].get(name)) is None:
                raise ConfigError(f"{source}: {section}: {name}: {_elsewhere(name, section, fields)}")
            checked: Any = Annotated[field.annotation, field]
            try:
                TypeAdapter(checked).validate_python(value)
            except ValidationError as error:
                raise ConfigError(
                    f"{source}: {section}: {explain_value(error.errors()[0], name, field)}"
                ) from None


def _elsewhere(name: str, section: str, fields: Fields) -> str:
    """Return a suggestion for a setting that a section does not have."""
    own = fields[section]
    if home := _home_of(name, fields):
        return f"not a setting of this section; it belongs to section {home}"
    if meant := _near(name, own):
        return f"no such setting{meant}"
    everywhere = {each: home for home, names in fields.items() for each in names}
    if near := difflib.get_close_matches(name, everywhere, 1):
        return f"no such setting; perhaps you meant {near[0]} of section {everywhere[near[0]]}"
    return f"no such setting; allowed: {', '.join(own)}"


def _home_of(name: object, fields: Fields) -> str | None:
    """Return the section of a setting; None if there is no setting of that name."""
    return next((home for home, names in fields.items() if name in names), None)


def _near(name: object, names: Collection[str]) -> str:
    near = difflib.get_close_matches(str(name), names, 1)
    return f"; perhaps you meant {near[0]}" if near else ""
