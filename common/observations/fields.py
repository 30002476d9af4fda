"""Observations: their fields, their limits, and the values of one observation.

An observation is one float32 vector and, where it has images, one frame: the bytes of all of its images. Must
not know: Gymnasium, the wire, the replay.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from graspfleet.common.fields import Record

MAX_DIM = 65_536
"""Largest size of an observation's vector or of an action that a spec may declare."""
MAX_FIELDS, MAX_FIELD_NAME, MAX_RANK = 256, 64, 8
"""Largest numbers of fields of an observation, of characters in a field's name, and of its dimensions."""
MAX_FRAME_BYTES = 4 << 20
"""Largest size of a frame: two color images of 1024 x 640."""
MIN_IMAGE_SIDE = 8
"""Smallest height and width of an image; a smaller array of bytes is read as numbers."""

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


class ObsField(Record):
    """One field of an observation.

    Attributes:
        name: the path of keys to the field, joined by dots; ``obs`` if the observation is one array.
        shape: of an array, or (number of choices,) of a one-hot vector.
        dtype: ``f4`` for a part of the vector, ``u1`` for an image, which is a part of the frame.
        privileged: only the critics see the field.
    """

    name: Annotated[str, Field(pattern=rf"^[!-~]{{1,{MAX_FIELD_NAME}}}$")]
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_DIM)], ...], Field(max_length=MAX_RANK)]
    dtype: Literal["f4", "u1"] = "f4"
    privileged: bool = False

    @model_validator(mode="after")
    def _image_fits(self) -> "ObsField":
        if self.is_image and (not is_image(self.shape) or self.size > MAX_FRAME_BYTES):
            raise ValueError(f"an image of shape {self.shape}")
        if self.is_image and self.privileged:
            raise ValueError("a privileged image")
        return self

    @property
    def size(self) -> int:
        """Number of values in the vector, or of bytes in the frame."""
        return math.prod(self.shape)

    @property
    def is_image(self) -> bool:
        """True for a part of the frame."""
        return self.dtype == "u1"

    def describe(self) -> str:
        """Return the field for the user."""
        marks = " uint8" * self.is_image + " privileged" * self.privileged
        return f"{self.name} {self.shape}{marks}"


def is_image(shape: tuple[int, ...]) -> bool:
    """Return whether an array of bytes of this shape is an image."""
    return len(shape) in (2, 3) and min(image_shape(shape)[:2]) >= MIN_IMAGE_SIDE


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (height, width, channels) of an image of shape [H, W], [H, W, C] or [C, H, W].

    The first of three dimensions is the channels' if it is the smallest.
    """
    if len(shape) == 2:
        return (*shape, 1)
    first, middle, last = shape
    return (middle, last, first) if first < min(middle, last) else (first, middle, last)


def _read_fields(value: Any) -> Any:
    """Convert the plain values of a message or file to fields; a file has lists in place of tuples."""
    if not isinstance(value, tuple | list):
        return value
    return tuple(ObsField.model_validate(tuples(each)) if isinstance(each, dict) else each for each in value)


def tuples(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping with tuples in place of lists."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


ObsFields = Annotated[
    tuple[ObsField, ...], Field(min_length=1, max_length=MAX_FIELDS), BeforeValidator(_read_fields)
]


class Frame:
    """The images of one observation, shared by the transitions before and after it.

    Attributes:
        pixels: [frame_bytes] uint8, not modified any more.
        number: place among the frames that its session has sent; -1 before it is sent.
    """

    __slots__ = ("number", "pixels")

    def __init__(self, pixels: Pixels) -> None:
        self.pixels = pixels
        self.number = -1


class Observation(NamedTuple):
    """One observation.

    Attributes:
        vector: [obs_dim] float32.
        frame: its images; None if it has none.
    """

    vector: Floats
    frame: Frame | None = None

    def batch(self) -> tuple[Floats, Pixels | None]:
        """Return a batch of this observation, as policies take it: [1, obs_dim] and [1, frame_bytes]."""
        return self.vector[None], None if self.frame is None else self.frame.pixels[None]
