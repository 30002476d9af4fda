"""Validation of the results of an environment's `reset` and `step`.

In: whatever an environment returns. Out: new arrays and plain values. No conversion changes a value, except
that float64 observations are rounded to float32. Must not know: episodes, policies, sockets.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.errors import BrokenEpisodeError
from graspfleet.common.observations import Floats, Observation, Pixels
from graspfleet.common.specs import MAX_MAGNITUDE

MAX_VALUE_CHARS, MAX_ERROR_CHARS = 80, 300
"""Characters of an environment's value, or of its error, in a line for the user."""
PAIRS = (tuple, list)
MAX_SQUARE = MAX_MAGNITUDE**2
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class ContractError(BrokenEpisodeError):
    """An invalid result of an environment; in the first reset or step it ends the process."""


class ReadObservation(Protocol):
    """Converts an observation to new arrays; `source` is the call that returned it."""

    def __call__(self, source: str, obs: Any, /) -> Observation:
        """Return the arrays; raises as `read_array` does."""


def read_reset(result: Any, read: ReadObservation) -> Observation:
    """Return the observation in the result of `reset`.

    Raises:
        ContractError: the result is not a pair of an observation and an info.
        BrokenEpisodeError: a number is not finite or too large.
    """
    if not (isinstance(result, PAIRS) and len(result) == 2):
        raise ContractError(f"reset() returned {shown(result)}; allowed: observation, info")
    obs, info = result
    _require_mapping("reset()", info)
    return read("reset()", obs)


def read_step(result: Any, read: ReadObservation) -> tuple[Observation, float, bool, bool, Mapping[str, Any]]:
    """Return the parts of the result of `step`: observation, reward, two flags, info.

    Raises:
        ContractError: the result has another form.
        BrokenEpisodeError: a number of the observation is not finite or too large.
    """
    if not (isinstance(result, PAIRS) and len(result) == 5):
        raise ContractError(
            f"step() returned {shown(result)}; allowed: observation, reward, terminated, truncated, info"
        )
    obs, reward, terminated, truncated, info = result
    if type(reward) is not float:
        reward = _scalar("reward", reward, "fiub", "a number")
    if type(terminated) is not bool:
        terminated = _scalar("terminated", terminated, "b", "a bool")
    if type(truncated) is not bool:
        truncated = _scalar("truncated", truncated, "b", "a bool")
    if type(info) is not dict:
        _require_mapping("step()", info)
    return read("step()", obs), float(reward), bool(terminated), bool(truncated), info


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


def _scalar(name: str, value: Any, kinds: str, allowed: str) -> Any:
    """Convert a NumPy scalar or a zero-dimensional tensor to a plain value."""
    try:
        array = np.asarray(value)
        if array.shape == () and array.dtype.kind in kinds:
            return array.item()
    except Exception as error:
        raise ContractError(f"step() returned {shown(value)} as {name}: {reason(error)}") from None
    raise ContractError(f"step() returned {shown(value)} as {name}; allowed: {allowed}")


def _require_mapping(source: str, info: Any) -> None:
    if not isinstance(info, Mapping):
        raise ContractError(f"{source} returned {shown(info)} as info; allowed: a dict")


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
