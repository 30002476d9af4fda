"""Ranges of randomized parameters: their types, and reading them from an environment's argument.

In: the value of an argument. Out: ranges (lowest, highest) by name. Must not know: what they are ranges of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("the first number must not be larger than the second")
    return limits


Ordered = AfterValidator(_ordered)
Deviation = Annotated[float, Field(ge=0.0, le=0.5)]
Shift = Annotated[float, Field(ge=-0.1, le=0.1)]
Delay = Annotated[int, Field(ge=0, le=10)]


class Ranges(BaseModel):
    """Ranges (lowest, highest) of uniform distributions; the defaults vary nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Kind = TypeVar("Kind", bound=Ranges)


def read_ranges(
    argument: str, setting: str | Mapping[str, Any] | None, kind: type[Kind], everything: Kind
) -> Kind | None:
    """Return the ranges that a setting names.

    Args:
        argument: name of the environment's argument, for errors.
        setting: None for no randomization, `all` for `everything`, or ranges by name; omitted ones vary
            nothing.
        kind: the model of the ranges.
        everything: the ranges of `all`.

    Raises:
        ValueError: a name is unknown or a range is not allowed; the message is one line with the value.
    """
    if setting is None:
        return None
    if setting == "all":
        return everything
    if not isinstance(setting, Mapping):
        raise ValueError(f"{argument}={setting!r} is unknown; allowed: all, or ranges by name")
    try:
        return kind(**{str(name): limits for name, limits in setting.items()})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        if name not in kind.model_fields:
            allowed = ", ".join(kind.model_fields)
            raise ValueError(f"{argument}: {name!r} is unknown; allowed: {allowed}") from None
        reason = "allowed: two numbers, lowest and highest" if first["type"] == "tuple_type" else first["msg"]
        raise ValueError(f"{argument}: {name}={setting[name]!r}: {reason}") from None
