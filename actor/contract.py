"""What an environment's `reset` and `step` may return, and how it is read: exactly, or not at all.

In: whatever foreign code returns. Out: arrays of our own and plain values. Nothing is cast that would change
by it, but for float64 observations, which are rounded to float32. It knows no episodes, policies or sockets.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import BrokenEpisodeError
from common.specs import MAX_MAGNITUDE, Floats

MAX_VALUE_CHARS, MAX_ERROR_CHARS = 80, 300
"""Characters of a foreign value, or of a foreign error, that one line shows."""
PAIRS = (tuple, list)
MAX_SQUARE = MAX_MAGNITUDE**2
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class ContractError(BrokenEpisodeError):
    """Watchdog code returned what it must not; at the first reset and step this ends the process."""


def read_reset(result: Any, shape: tuple[int, ...]) -> Floats:
    """Return the observation in what `reset` returned, a new array of float32.

    Raises:
        ContractError: it is no pair of an observation of `shape` and an info.
        BrokenEpisodeError: a number is not finite or huge.
    """
    if not (isinstance(result, PAIRS) and len(result) == 2):
        raise ContractError(f"reset() returned {shown(result)}; allowed: observation, info")
    obs, info = result
    _require_mapping("reset()", info)
    return _observation("reset()", obs, shape)


def read_step(result: Any, shape: tuple[int, ...]) -> tuple[Floats, float, bool, bool, Mapping[str, Any]]:
    """Return what `step` returned: observation (a new array of float32), reward, terminated, truncated, info.

    Raises:
        ContractError: it is something else.
        BrokenEpisodeError: a number of the observation is not finite or huge.
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
    return _observation("step()", obs, shape), float(reward), bool(terminated), bool(truncated), info


def _observation(source: str, obs: Any, shape: tuple[int, ...]) -> Floats:
    """Return a copy, for foreign code may fill the same array anew; copied first, for it may do so now."""
    try:
        array = np.array(obs if type(obs) is np.ndarray else np.asarray(obs))  # a tensor's shares its memory
    except Exception as error:  # no array can be made of it, or its own conversion fails
        raise ContractError(f"{source} returned {shown(obs)} as observation: {reason(error)}") from None
    if array.shape != shape or array.dtype.kind not in "fiub":
        raise ContractError(
            f"{source} returned {shown(obs)} as observation; allowed: numbers of shape {shape}"
        )
    if array.dtype is not FLOAT32 and array.dtype is not FLOAT64:
        array = array.astype(FLOAT64)
    # A sum of squares as small as the largest square clears every number at once, in half the time; `vdot`,
    # unlike `dot`, does not warn when it overflows.
    if not np.vdot(array, array) <= MAX_SQUARE:  # also for NaN
        _require_sound(source, array)
    return array if array.dtype is FLOAT32 else array.astype(FLOAT32)


def _require_sound(source: str, array: NDArray[Any]) -> None:
    """Refuse an observation that has a number which is not finite or beyond `MAX_MAGNITUDE`."""
    sound = np.abs(array) <= MAX_MAGNITUDE
    if not sound.all():
        index = int(np.argmin(sound))
        raise BrokenEpisodeError(
            f"{source} returned {array[index]:g} in an observation, at index {index};"
            f" allowed: finite numbers within ± {MAX_MAGNITUDE:g}"
        )


def _scalar(name: str, value: Any, kinds: str, allowed: str) -> Any:
    """Return a NumPy scalar, or a tensor without dimensions, as a plain value."""
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
    """Return a foreign value in a few words."""
    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    if isinstance(value, PAIRS):
        return f"a {kind} of {len(value)}"
    text = _line(lambda: repr(value), MAX_VALUE_CHARS)
    return text if value is None or isinstance(value, str) else f"{kind} {text}"


def reason(error: BaseException) -> str:
    """Return a foreign error in one line: its kind, its words, and the line of code that raised it."""
    trace, place = error.__traceback__, ""
    while trace is not None:
        place = f" ({trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"
        trace = trace.tb_next
    words = _line(lambda: str(error), MAX_ERROR_CHARS)
    return f"{type(error).__name__}{': ' if words else ''}{words}{place}"


def _line(words: Callable[[], str], most: int) -> str:
    """Return foreign words as one line of at most so many characters."""
    try:
        text = "".join(char if char.isprintable() else " " for char in words()[: 10 * most])
    except Exception:
        return "(cannot be shown)"
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
