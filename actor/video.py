"""Films of episodes: `graspfleet evaluate RUN_DIR --video FILE.mp4`.

In: any Gymnasium environment that draws pictures. Out: an MP4 file whose frames say how it went. It knows
neither what is seen nor who acts.
"""

import contextlib
import logging
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actor.contract import shown
from actor.environment import Environment
from actor.foreign import Foreign
from common.config import EnvConfig, ReturnConfig
from common.errors import BrokenEpisodeError, ConfigError
from common.specs import Floats

Picture = NDArray[np.uint8]
"""[height, width, 3]."""

log = logging.getLogger(__name__)

DEFAULT_FPS = 20
MAX_FPS = 1000
MAX_PICTURE_BYTES = 1 << 28
"""Of one picture: 9,000 pixels square."""
HOLD_FRAMES = 15
"""How often the last picture of an episode is shown, so that its outcome can be read."""
BAND_PX, MARGIN_PX, TEXT_PX = 30, 10, 16
BAND, PLAIN, GOOD, BAD = (24, 27, 32), (236, 239, 242), (88, 214, 141), (240, 120, 105)


class Film:
    """An MP4 file: begun by its first picture, in place of an older file once it is finished.

    Args:
        path: of the file.
        fps: pictures a second.

    Raises:
        ConfigError: a package for it is missing, there is no such folder, or it is another kind of file.
    """

    def __init__(self, path: Path, fps: int) -> None:
        """Check that it can be written."""
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
        self._path, self._fps = path, fps
        self._unfinished = path.with_name(f".{path.stem}.{os.getpid()}.mp4")
        try:  # before any episode, and before the encoder says it in lines of its own
            self._unfinished.touch()
            self._unfinished.unlink()
        except OSError as error:
            raise self._unwritable(error) from None
        self._shape: tuple[int, ...] | None = None
        self._frames: Generator[None, Any, None] | None = None

    def add(self, picture: Picture, left: str, right: str, color: tuple[int, int, int] = PLAIN) -> None:
        """Append a picture with a line of text below it.

        Args:
            picture: all of one film have the same shape.
            left: said in plain color.
            right: said in `color`.
            color: red, green, blue, 0 to 255.

        Raises:
            ConfigError: another shape than the first picture's, or the file cannot be written.
        """
        self._shape = self._shape or picture.shape
        if picture.shape != self._shape:
            raise ConfigError(
                f"--video {self._path}: a picture of shape {picture.shape}; allowed: {self._shape}, as before"
            )
        frame = self._captioned(picture, left, right, color)
        try:
            if self._frames is None:
                self._frames = self._begun(frame.shape[1], frame.shape[0])
            self._frames.send(np.ascontiguousarray(frame))
        except OSError as error:
            raise self._unwritable(error) from None

    def _begun(self, width: int, height: int) -> Generator[None, Any, None]:
        """Return the running encoder."""
        frames: Generator[None, Any, None] = self._encoder.write_frames(
            str(self._unfinished),
            (width, height),
            fps=self._fps,
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
        """Finish the file; calling it again does nothing.

        Raises:
            ConfigError: it cannot be written.
        """
        if self._frames is None:
            return
        frames, self._frames = self._frames, None
        try:
            frames.close()
            os.replace(self._unfinished, self._path)
        except OSError as error:
            raise self._unwritable(error) from None

    def drop(self) -> None:
        """Leave nothing of a file that was not finished."""
        if self._frames is not None:
            with contextlib.suppress(OSError):
                self._frames.close()
            self._frames = None
        with contextlib.suppress(OSError):
            self._unfinished.unlink()

    def _unwritable(self, error: OSError) -> ConfigError:
        why = error.strerror or "the encoder failed"
        return ConfigError(f"--video {self._path}: cannot be written ({why})")


class FilmedEnvironment(Environment):
    """An environment whose first episodes are filmed.

    Args:
        config: which environment.
        returns: as `Environment`.
        path: of the film.
        episodes: how many are filmed.
        foreign: as `Environment`.

    Raises:
        ConfigError: it draws no pictures, or the film cannot be written.
    """

    def __init__(
        self,
        config: EnvConfig,
        returns: ReturnConfig,
        path: Path,
        episodes: int,
        foreign: Foreign | None = None,
    ) -> None:
        super().__init__(config, returns, render_mode="rgb_array", foreign=foreign)
        self._film = Film(path, fps_of(self.env.metadata))
        self._episodes = self._left = episodes
        self._episode = 0

    def check(self, seeds: np.random.Generator) -> None:
        """As `Environment.check`; the environment must draw a picture, too."""
        super().check(seeds)
        self._picture()

    def reset(self, seed: int) -> Floats:
        """As `Environment.reset`; begins the next scene, or ends the film after the last."""
        obs = super().reset(seed)
        self._episode += 1
        self._step, self._return = 0, 0.0
        if self._left == 0:
            self.finish()
        else:
            self._shoot("", PLAIN)
        return obs

    def step(self, action: Floats) -> tuple[Floats, float, bool, bool, Mapping[str, Any]]:
        """As `Environment.step`, filmed."""
        result = super().step(action)
        _, reward, terminated, truncated, info = result
        self._step += 1
        self._return += reward
        if self._left > 0:
            success, ended = self.success(info), terminated or truncated
            word = (
                "" if success is None else "success" if success else "failed" if ended else "no success yet"
            )
            color = GOOD if success else BAD if ended and success is not None else PLAIN
            self._shoot(word, color, HOLD_FRAMES if ended else 1)
            self._left -= ended
        return result

    def _shoot(self, word: str, color: tuple[int, int, int], times: int = 1) -> None:
        picture = self._picture()
        # Like `reinit`, a name of what is dealt with is an environment's own to have.
        names = [name] if (name := getattr(self.env.unwrapped, "object_name", "")) else []
        text = "   ".join(
            [f"episode {self._episode}", *names, f"step {self._step}", f"return {self._return:.2f}"]
        )
        for _ in range(times):
            self._film.add(picture, text, word, color)

    def _picture(self) -> Picture:
        """Return what the environment draws.

        Raises:
            ConfigError: it is no picture.
        """
        try:
            picture = self.render()
        except BrokenEpisodeError as error:
            raise ConfigError(f"--video: {self.name} draws no pictures: {error}") from None
        if not (
            isinstance(picture, np.ndarray)
            and picture.dtype == np.uint8
            and picture.ndim == 3
            and picture.shape[2] == 3
            and 0 < picture.size <= MAX_PICTURE_BYTES
        ):
            raise ConfigError(
                f"--video: {self.name} draws {shown(picture)};"
                " allowed: render_mode rgb_array, an array [height, width, 3] of uint8"
            )
        return picture

    def finish(self) -> int:
        """Finish the film and return how many whole episodes it shows.

        Raises:
            ConfigError: it cannot be written.
        """
        self._film.close()
        return self._episodes - self._left

    def close(self) -> None:
        """Give back what the environment holds; nothing stays of a film that was not finished."""
        self._film.drop()
        super().close()


def fps_of(metadata: Any) -> int:
    """Return the pictures a second that an environment declares, `DEFAULT_FPS` where it declares none."""
    said = metadata.get("render_fps") if isinstance(metadata, Mapping) else None
    if said is None:
        return DEFAULT_FPS
    if not isinstance(said, int | float | np.number) or not 1 <= said <= MAX_FPS:  # false for NaN
        log.warning("render_fps is %s, allowed 1 to %d: the film has %d", shown(said), MAX_FPS, DEFAULT_FPS)
        return DEFAULT_FPS
    return round(float(said))
