"""Base class of settings sections, and the text for the user about their flags, ranges and errors."""

from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from graspfleet.common.errors import ConfigError, shown

KINDS = {int: "an integer", float: "a finite number", str: "text", bool: "true or false"}

BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "min_length": "at least {} character",
    "pattern": "matching {}",
}
"""Attribute of an annotation -> its description."""


class Positional(NamedTuple):
    """Annotation of a field that is a positional argument, displayed under this name."""

    name: str


class Spelling(NamedTuple):
    """Annotation of a field whose flag has another name."""

    name: str


def flag(name: str) -> str:
    """Return the command-line spelling of a field's name."""
    return "--" + name.replace("_", "-")


class Section(BaseModel):
    """Immutable group of settings that rejects unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    def __init__(self, **values: Any) -> None:
        """Validate `values`.

        Raises:
            ConfigError: a name is unknown or a value is not allowed; the message names the flag.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(explain(error, type(self))) from None


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return one line that names the first offending flag, its value and what is allowed.

    Args:
        error: raised while `model` was filled.
        model: a section, or a command that consists of sections.
    """
    first = error.errors()[0]
    if (field := _field(model, first["loc"])) is None:
        if first["type"] == "extra_forbidden":
            return f"{'.'.join(map(str, first['loc']))}: no such setting"
        return first["msg"].removeprefix("Value error, ")  # of a model validator: names its settings itself
    return explain_value(first, [part for part in first["loc"] if isinstance(part, str)][-1], field)


def explain_value(error: ErrorDetails, name: str, field: FieldInfo) -> str:
    """Return one line about a field's value that is not allowed."""
    if error["type"] == "missing":
        return f"{flag(name)} is missing"
    own = error["msg"].removeprefix("Value error, ")
    message = own if error["type"] == "value_error" else f"allowed: {allowed(field)}"
    value = error["input"]
    words = " ".join(map(str, value)) if isinstance(value, list | tuple) else shown(value)
    return f"{flag(name)} {words}: {message}"


def _field(model: Any, place: tuple[int | str, ...]) -> FieldInfo | None:
    """Return the field at a place; None if the place is a whole section or does not exist."""
    field = None
    for part in place:
        if isinstance(part, str):
            if not (isinstance(model, type) and issubclass(model, BaseModel)):
                return None
            field = model.model_fields.get(part)
            model = field and field.annotation
    return None if isinstance(model, type) and issubclass(model, BaseModel) else field


def is_optional(field: FieldInfo) -> bool:
    """Return whether None is allowed."""
    return NoneType in get_args(field.annotation)


def kind(field: FieldInfo) -> Any:
    """Return the type of a field's value when it is not None: a class, a `Literal` or a `tuple[...]`."""
    options = [option for option in get_args(field.annotation) if option is not NoneType]
    return options[0] if is_optional(field) else field.annotation


def choices(field: FieldInfo) -> list[str]:
    """Return the choices of a setting; an empty list if any value is possible."""
    return list(map(str, get_args(kind(field)))) if get_origin(kind(field)) is Literal else []


def allowed(field: FieldInfo) -> str:
    """Return a description of the allowed values of a setting."""
    words = choices(field)
    text = ", ".join(filter(None, (KINDS.get(kind(field), "a list of text"), bounds(field))))
    return (", ".join(words) or text) + (", or None" if is_optional(field) else "")


def bounds(field: FieldInfo) -> str:
    """Return a description of the range of a setting; "" if it has none."""
    found = {
        name: value
        for limit in field.metadata
        for name in BOUNDS
        if (value := getattr(limit, name, None)) is not None
    }
    if {"ge", "le"} <= found.keys():
        return f"{found['ge']:.9g} to {found['le']:.9g}"
    return " and ".join(BOUNDS[name].format(value) for name, value in found.items())
