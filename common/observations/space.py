"""Gymnasium observation spaces -> fields, and their observations -> a vector and a frame.

In: a space, then observations of it. Out: fields, and new arrays. Images are copied as they are; other arrays
of any shape are flattened in C order, choices become one-hot vectors, and a Dict or Tuple is split into its
parts, those of a Dict in the order of its space.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from pydantic import ValidationError

from graspfleet.common.errors import ConfigError
from graspfleet.common.observations.fields import (
    MAX_DIM,
    MAX_FIELDS,
    MAX_FRAME_BYTES,
    Floats,
    Frame,
    Observation,
    ObsField,
    Pixels,
    is_image,
)
from graspfleet.common.observations.reading import (
    PAIRS,
    ContractError,
    read_array,
    read_image,
    read_integers,
    shown,
)

ALLOWED = (
    f"Box, Discrete, MultiDiscrete, MultiBinary, and Dict or Tuple of these: up to {MAX_DIM} numbers, and"
    f" images (uint8 arrays of two or three dimensions) of up to {MAX_FRAME_BYTES} bytes"
)
ONLY = "obs"
"""Name of the only field of an observation without a Dict or Tuple."""


class Step(NamedTuple):
    """One step on the path to a part: a key of a Dict, or an index of a Tuple."""

    key: Any
    in_dict: bool


Path = tuple[Step, ...]


class Part:
    """One part of an observation, and its place in the vector or frame.

    Args:
        path: the path to the part.
        space: the part's space, neither a Dict nor a Tuple.
        field: the part's name, its shape and dtype.
        start: index of the part's first number in the vector, or byte in the frame.
    """

    def __init__(self, path: Path, space: Any, field: ObsField, start: int) -> None:
        self.path, self.space, self.field = path, space, field
        self.place = slice(start, start + field.size)
        self.is_choice = isinstance(space, spaces.Discrete | spaces.MultiDiscrete)
        if self.is_choice:
            is_one = isinstance(space, spaces.Discrete)
            self._first = np.array(space.start).reshape(-1)
            self._counts = np.array(space.n if is_one else space.nvec).reshape(-1)
            self._offsets = np.cumsum(self._counts) - self._counts

    def write(self, source: str, value: Any, vector: Floats, pixels: Pixels) -> None:
        """Write a value into its place; see `ObservationSpace.read`."""
        if self.path:
            source = f"{source}, {self.field.name}:"
        if self.field.is_image:
            pixels[self.place] = read_image(source, value, self.field.shape).reshape(-1)
            return
        if not self.is_choice:
            vector[self.place] = read_array(source, value, self.field.shape).reshape(-1)
            return
        if isinstance(value, int | np.integer) and self.space.shape == ():  # 10 us less than by arrays
            index = int(value) - int(self._first[0])
            if 0 <= index < self.field.size:
                vector[self.place.start + index] = 1.0
                return
        chosen = read_integers(source, value, self.space.shape).reshape(-1) - self._first
        if ((chosen < 0) | (chosen >= self._counts)).any():
            raise ContractError(f"{source} returned {shown(value)}; allowed: a value of {self.space}")
        vector[self.place][self._offsets + chosen] = 1.0


class ObservationSpace:
    """Reader of the observations of one environment.

    Args:
        space: the observation space that the environment declares.
        name: value of `--env`.
        privileged: names of fields, or of Dicts of fields, that only the critics see.
        may_lack: whether privileged fields may be missing, as for a policy that does not need them.

    Attributes:
        obs_dim: length of the vector.
        fields: fields of an observation, privileged ones last; None if it is one flat array.

    Raises:
        ConfigError: the space is not one of `ALLOWED`, or `privileged` names no part of it.
    """

    def __init__(
        self, space: Any, name: str, privileged: Sequence[str] = (), *, may_lack: bool = False
    ) -> None:
        refusal = ConfigError(
            f"--env {name}: its observation space is {' '.join(str(space).split())}; allowed: {ALLOWED}"
        )
        leaves = list(_leaves(space, ()))
        labels = [".".join(str(step.key) for step in path) or ONLY for path, _ in leaves]
        hidden = [_is_among(label, privileged) for label in labels]
        self._parts: list[Part] = []
        self.obs_dim = self._frame_bytes = 0
        for index in sorted(range(len(leaves)), key=hidden.__getitem__):
            (path, leaf), label = leaves[index], labels[index]
            try:
                field = _field(label, leaf, privileged=hidden[index])
            except ValidationError:
                raise refusal from None
            if field.is_image and hidden[index]:
                raise ConfigError(f"--privileged-obs {label}: an image; allowed: fields of numbers")
            self._parts.append(Part(path, leaf, field, self._frame_bytes if field.is_image else self.obs_dim))
            self.obs_dim += 0 if field.is_image else field.size
            self._frame_bytes += field.size if field.is_image else 0
            if self.obs_dim > MAX_DIM or self._frame_bytes > MAX_FRAME_BYTES:
                raise refusal
        names = {part.field.name for part in self._parts}
        if not 0 < len(self._parts) == len(names) <= MAX_FIELDS:
            raise refusal
        if not may_lack:
            _require_named(name, privileged, self._parts)
        first = self._parts[0]
        shape = first.field.shape
        self._is_flat = not (first.path or first.is_choice or first.field.is_image) and len(shape) == 1
        self.fields = None if self._is_flat else tuple(part.field for part in self._parts)

    def read(self, source: str, obs: Any) -> Observation:
        """Return an observation in new arrays.

        Args:
            source: the call that returned the observation, for error messages.
            obs: the observation.

        Raises:
            ContractError: the observation does not have the form of the space.
            BrokenEpisodeError: a number is not finite or too large.
        """
        if self._is_flat:
            return Observation(read_array(source, obs, (self.obs_dim,)))
        vector, pixels = np.zeros(self.obs_dim, np.float32), np.empty(self._frame_bytes, np.uint8)
        for part in self._parts:
            part.write(source, _pick(source, obs, part.path), vector, pixels)
        return Observation(vector, Frame(pixels) if self._frame_bytes else None)

    def outside(self, vector: Floats) -> tuple[str, float] | None:
        """Return name and value of the first number outside the declared bounds; None if there is none."""
        for part in self._parts:
            values = vector[part.place]
            if isinstance(part.space, spaces.Box) and not part.field.is_image:
                low, high = part.space.low.reshape(-1), part.space.high.reshape(-1)
                for index in np.flatnonzero((values < low) | (values > high))[:1]:
                    name = "" if self._is_flat else f"{part.field.name} "
                    return f"{name}index {index}", float(values[index])
        return None


def _leaves(space: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Yield the leaves of a space, each with the path to it."""
    if isinstance(space, spaces.Dict):
        for key, part in space.spaces.items():
            yield from _leaves(part, (*path, Step(key, in_dict=True)))
    elif isinstance(space, spaces.Tuple):
        for index, part in enumerate(space.spaces):
            yield from _leaves(part, (*path, Step(index, in_dict=False)))
    else:
        yield path, space


def _is_among(label: str, names: Sequence[str]) -> bool:
    """Return whether a field, or a Dict or Tuple that it is in, has one of the names."""
    return any(label == name or label.startswith(f"{name}.") for name in names)


def _require_named(env: str, privileged: Sequence[str], parts: Sequence[Part]) -> None:
    """Check the names of privileged fields against the parts of the observation.

    Raises:
        ConfigError: a name is unknown, or the policy would see nothing.
    """
    labels = [part.field.name for part in parts if not part.field.is_image]
    for name in privileged:
        if not any(_is_among(label, [name]) for label in labels):
            raise ConfigError(
                f"--privileged-obs {name}: no field of --env {env}; allowed: {', '.join(labels)}"
            )
    if all(part.field.privileged for part in parts):
        raise ConfigError(f"--privileged-obs {' '.join(privileged)}: allowed: all fields but one")


def _field(label: str, space: "gymnasium.Space[Any]", *, privileged: bool) -> ObsField:
    """Return the field of a part.

    Raises:
        ValidationError: its name or space is not allowed.
    """
    shape = _shape(space)
    is_bytes = isinstance(space, spaces.Box) and space.dtype == np.uint8
    dtype = "u1" if is_bytes and shape is not None and is_image(shape) else "f4"
    values = {"name": label, "shape": shape, "dtype": dtype, "privileged": privileged and dtype == "f4"}
    return ObsField.model_validate(values)


def _shape(space: "gymnasium.Space[Any]") -> tuple[int, ...] | None:
    """Return the shape of a part; None for a space that is not allowed."""
    if isinstance(space, spaces.Box):
        return tuple(map(int, space.shape)) if space.dtype.kind in "fiub" else None
    if isinstance(space, spaces.MultiBinary):
        return tuple(map(int, space.shape))
    if isinstance(space, spaces.Discrete):
        return (int(space.n),)
    if isinstance(space, spaces.MultiDiscrete):
        return (int(space.nvec.sum()),)
    return None


def _pick(source: str, obs: Any, path: Path) -> Any:
    """Return a part of an observation."""
    part = obs
    for depth, (key, in_dict) in enumerate(path):
        try:
            if not isinstance(part, Mapping if in_dict else PAIRS):
                raise TypeError
            part = part[key]
        except (TypeError, LookupError):
            place = ".".join(str(step.key) for step in path[: depth + 1])
            raise ContractError(
                f"{source} returned an observation without {place}: {shown(part)};"
                f" allowed: a {'dict' if in_dict else 'tuple'} with {key!r}"
            ) from None
    return part
