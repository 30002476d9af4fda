"""Films of episodes: `graspfleet evaluate RUN_DIR --video FILE.mp4`.

In: any Gymnasium environment that draws pictures. Out: an MP4 file whose frames say how it went. It knows
neither what is seen nor who acts.
"""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actor.environment import Environment
from common.config import EnvConfig, ReturnConfig
from common.errors import ConfigError
from common.specs import Floats

Picture = NDArray[np.uint8]
"""[height, width, 3]."""

DEFAULT_FPS = 20
HOLD_FRAMES = 15
"""How often the last picture of an episode is shown, so that its outcome can be read."""
BAND_PX, MARGIN_PX, TEXT_PX = 30, 10, 16
BAND, PLAIN, GOOD, BAD = (24, 27, 32), (236, 239, 242), (88, 214, 141), (240, 120, 105)


class Film:
    """An MP4 file, opened by its first picture.

    Args:
        path: of the file; an older one is replaced.
        fps: pictures a second.

    Raises:
        ConfigError: a package for it is missing, or there is no such folder.
    """

    def __init__(self, path: Path, fps: int) -> None:
        """Check that it can be written."""
        if not path.parent.is_dir() or path.is_dir():
            raise ConfigError(f"--video {path}: cannot be written; allowed: a file in a folder that exists")
        try:
            import imageio_ffmpeg
            import PIL.ImageDraw
        except ModuleNotFoundError as error:
            needs = f"--video: needs {error.name}; install it with: pip install 'graspfleet[video]'"
            raise ConfigError(needs) from None
        self._encoder, self._drawing = imageio_ffmpeg, PIL.ImageDraw
        self._path, self._fps = path, fps
        self._frames: Generator[None, Any, None] | None = None

    def add(self, picture: Picture, left: str, right: str, color: tuple[int, int, int] = PLAIN) -> None:
        """Append a picture with a line of text below it.

        Args:
            picture: all of one film have the same shape.
            left: said in plain color.
            right: said in `color`.
            color: red, green, blue, 0 to 255.
        """
        frame = self._captioned(picture, left, right, color)
        if self._frames is None:
            size = frame.shape[1], frame.shape[0]
            self._frames = self._encoder.write_frames(
                str(self._path), size, fps=self._fps, quality=7, macro_block_size=2, ffmpeg_log_level="error"
            )
            self._frames.send(None)
        self._frames.send(np.ascontiguousarray(frame))

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
        """Finish the file; calling it again does nothing."""
        if self._frames is not None:
            self._frames.close()
            self._frames = None


class FilmedEnvironment(Environment):
    """An environment whose first episodes are filmed.

    Args:
        config: which environment.
        returns: as `Environment`.
        path: of the film.
        episodes: how many are filmed.

    Raises:
        ConfigError: it draws no pictures, or the film cannot be written.
    """

    def __init__(self, config: EnvConfig, returns: ReturnConfig, path: Path, episodes: int) -> None:
        super().__init__(config, returns, render_mode="rgb_array")
        self._film = Film(path, int(self.env.metadata.get("render_fps", DEFAULT_FPS)))
        self._left = episodes
        self._name = config.env
        self._episode = 0

    def reset(self, seed: int) -> Floats:
        """As `Environment.reset`; begins the next scene, or ends the film after the last."""
        obs = super().reset(seed)
        self._episode += 1
        self._step, self._return = 0, 0.0
        if self._left == 0:
            self._film.close()
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
            success, ended = info.get("is_success"), terminated or truncated
            word = (
                "" if success is None else "success" if success else "failed" if ended else "no success yet"
            )
            color = GOOD if success else BAD if ended and success is not None else PLAIN
            self._shoot(word, color, HOLD_FRAMES if ended else 1)
            self._left -= ended
        return result

    def _shoot(self, word: str, color: tuple[int, int, int], times: int = 1) -> None:
        picture: Any = self.env.render()
        if not isinstance(picture, np.ndarray) or picture.ndim != 3:
            raise ConfigError(f"--video: {self._name} draws no pictures (render_mode rgb_array)")
        # Like `reinit`, a name of what is dealt with is an environment's own to have.
        names = [name] if (name := getattr(self.env.unwrapped, "object_name", "")) else []
        text = "   ".join(
            [f"episode {self._episode}", *names, f"step {self._step}", f"return {self._return:.2f}"]
        )
        for _ in range(times):
            self._film.add(picture, text, word, color)

    def close(self) -> None:
        """Finish the film and give back what the environment holds."""
        self._film.close()
        super().close()
