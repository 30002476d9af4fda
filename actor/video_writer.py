"""An MP4 file of captioned images.

In: images and text. Out: a complete file, or none. Must not know: environments.
"""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.files import put_in_place

Picture = NDArray[np.uint8]
"""[height, width, 3]."""

DEFAULT_FPS = 20
BAND_PX, MARGIN_PX, TEXT_PX = 30, 10, 16
BAND, PLAIN, GOOD, BAD = (24, 27, 32), (236, 239, 242), (88, 214, 141), (240, 120, 105)


class VideoWriter:
    """Writes an MP4 file, which replaces an older one only when it is complete.

    Args:
        path: of the file.

    Attributes:
        fps: frames per second; may be set before the first frame.

    Raises:
        ConfigError: a package is missing, the folder does not exist, or the file name does not end in .mp4.
    """

    def __init__(self, path: Path) -> None:
        """Check that the file can be written."""
        if not path.parent.is_dir() or path.is_dir():
            raise ConfigError(f"--video {path}: cannot be written; allowed: a file in a folder that exists")
        if path.suffix.lower() != ".mp4":
            raise ConfigError(f"--video {path}: allowed: a file whose name ends in .mp4")
        try:
            import imageio_ffmpeg
            import PIL.ImageDraw
        except ModuleNotFoundError as error:
            needs = f"--video: needs {error.name}; install it with: pip install 'graspfleet[video]'"
            raise ConfigError(needs) from None
        self._encoder, self._drawing = imageio_ffmpeg, PIL.ImageDraw
        self._path, self.fps = path, DEFAULT_FPS
        self._unfinished = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
        try:  # fail before any episode, and before the encoder prints its own errors
            self._unfinished.touch()
            self._unfinished.unlink()
        except OSError as error:
            raise self._unwritable(error) from None
        self._shape: tuple[int, ...] | None = None
        self._frames: Generator[None, Any, None] | None = None

    def add(self, picture: Picture, left: str, right: str, color: tuple[int, int, int] = PLAIN) -> None:
        """Append an image with a caption.

        Args:
            picture: of the same shape as the first one.
            left: text in the default color.
            right: text in `color`.
            color: red, green, blue, 0 to 255.

        Raises:
            ConfigError: the shape differs from the first image's, or the file cannot be written.
        """
        self._shape = self._shape or picture.shape
        if picture.shape != self._shape:
            raise ConfigError(
                f"--video {self._path}: an image of shape {picture.shape};"
                f" allowed: {self._shape}, the shape of the first image"
            )
        frame = self._captioned(picture, left, right, color)
        try:
            if self._frames is None:
                self._frames = self._begun(frame.shape[1], frame.shape[0])
            self._frames.send(np.ascontiguousarray(frame))
        except OSError as error:
            raise self._unwritable(error) from None

    def _begun(self, width: int, height: int) -> Generator[None, Any, None]:
        """Start the encoder and return it."""
        frames: Generator[None, Any, None] = self._encoder.write_frames(
            str(self._unfinished),
            (width, height),
            fps=self.fps,
            quality=7,
            macro_block_size=2,
            ffmpeg_log_level="error",
        )
        frames.send(None)
        return frames

    def _captioned(self, picture: Picture, left: str, right: str, color: tuple[int, int, int]) -> Picture:
        from PIL import Image, ImageFont

        height, width = picture.shape[:2]
        image = Image.new("RGB", (width, height + BAND_PX), BAND)
        image.paste(Image.fromarray(picture), (0, 0))
        draw, font = self._drawing.Draw(image), ImageFont.load_default(TEXT_PX)
        middle = height + BAND_PX // 2
        draw.text((MARGIN_PX, middle), left, PLAIN, font, anchor="lm")
        draw.text((width - MARGIN_PX, middle), right, color, font, anchor="rm")
        return np.asarray(image)

    def close(self) -> None:
        """Complete the file; later calls have no effect.

        Raises:
            ConfigError: the file cannot be written.
        """
        if self._frames is None:
            return
        frames, self._frames = self._frames, None
        try:
            frames.close()
            put_in_place(self._unfinished, self._path)
        except OSError as error:
            raise self._unwritable(error) from None

    def drop(self) -> None:
        """Remove an incomplete file."""
        if self._frames is not None:
            with contextlib.suppress(OSError):
                self._frames.close()
            self._frames = None
        with contextlib.suppress(OSError):
            self._unfinished.unlink()

    def _unwritable(self, error: OSError) -> ConfigError:
        why = error.strerror or "the encoder failed"
        return ConfigError(f"--video {self._path}: cannot be written ({why})")
