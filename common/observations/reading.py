"""Arrays read from values of an environment or a dataset, and descriptions of such values for the user.

In: anything. Out: new arrays. No conversion changes a value, except that float64 is rounded to float32. Must
not know: spaces, episodes, files.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.errors import BrokenEpisodeError
from graspfleet.common.observations.fields import Floats, Pixels
from graspfleet.common.specs import MAX_MAGNITUDE

MAX_VALUE_CHARS, MAX_ERROR_CHARS = 80, 300
"""Characters of an environment's value, or of its error, in a line for the user."""
PAIRS = (tuple, list)
MAX_SQUARE = MAX_MAGNITUDE**2
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class ContractError(BrokenEpisodeError):
    """An invalid result of an environment; in the first reset or step it ends the process."""


def read_array(source: str, obs: Any, shape: tuple[int, ...]) -> Floats:
    """Return a validated copy of an array; copied first, because an environment may modify it at any time.

    Raises:
        ContractError: the array has another shape or a non-numeric dtype.
        BrokenEpisodeError: a number is not finite or too large.
    """
    array = _copy(source, obs, shape, "fiub", "numbers")
    if array.dtype is not FLOAT32 and array.dtype is not FLOAT64:
        array = array.astype(FLOAT64)
    # A sum of squares below the largest square validates all numbers in half the time. `vdot`, unlike `dot`,
    # does not warn on overflow.
    if not np.vdot(array, array) <= MAX_SQUARE:  # also for NaN
        _require_sound(source, array.reshape(-1))
    return array if array.dtype is FLOAT32 else array.astype(FLOAT32)


def read_image(source: str, obs: Any, shape: tuple[int, ...]) -> Pixels:
    """Return a copy of an image.

    Raises:
        ContractError: the array has another shape or a dtype other than uint8.
    """
    array = _copy(source, obs, shape, "u", "uint8")
    if array.dtype != np.uint8:  # a conversion would change colors
        raise ContractError(f"{source} returned {shown(obs)} as observation; allowed: uint8 of shape {shape}")
    return array


def read_integers(source: str, obs: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return a copy of an array of integers, or of one integer.

    Raises:
        ContractError: the array has another shape or a dtype other than integers.
    """
    return _copy(source, obs, shape, "iub", "integers").astype(np.int64)


def _copy(source: str, obs: Any, shape: tuple[int, ...], kinds: str, allowed: str) -> NDArray[Any]:
    """Return a copy of an array-like value; raise ContractError for another shape or kind of dtype."""
    try:
        array = np.array(obs if type(obs) is np.ndarray else np.asarray(obs))  # asarray may share memory
    except Exception as error:  # not convertible, or its own conversion raises
        raise ContractError(f"{source} returned {shown(obs)} as observation: {reason(error)}") from None
    if array.shape != shape or array.dtype.kind not in kinds:
        raise ContractError(
            f"{source} returned {shown(obs)} as observation; allowed: {allowed} of shape {shape}"
        )
    return array


def _require_sound(source: str, array: NDArray[Any]) -> None:
    """Raise BrokenEpisodeError if a number is not finite or is beyond `MAX_MAGNITUDE`."""
    sound = np.abs(array) <= MAX_MAGNITUDE
    if not sound.all():
        index = int(np.argmin(sound))
        raise BrokenEpisodeError(
            f"{source} returned {array[index]:g} in an observation, at index {index};"
            f" allowed: finite numbers within ± {MAX_MAGNITUDE:g}"
        )


def shown(value: Any) -> str:
    """Return a short description of an environment's value."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, PAIRS):
        return f"a {kind} of {len(value)}"
    text = _line(lambda: repr(value), MAX_VALUE_CHARS)
    return text if value is None or isinstance(value, str) else f"{kind} {text}"


def reason(error: BaseException) -> str:
    """Return an environment's error as one line: class, message and location."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"
        trace = trace.tb_next
    words = _line(lambda: str(error), MAX_ERROR_CHARS)
    return f"{type(error).__name__}{': ' if words else ''}{words}{place}"


def _line(words: Callable[[], str], most: int) -> str:
    """Return an environment's text as one line of at most `most` characters."""
    try:
        text = "".join(char if char.isprintable() else " " for char in words()[: 10 * most])
    except Exception:
        return "(cannot be shown)"
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
