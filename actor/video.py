"""Videos of episodes: `graspfleet evaluate RUN_DIR --video FILE.mp4`.

In: a Gymnasium environment that renders images. Out: a video with captions. Must not know: task, policy.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graspfleet.actor.environment import Environment
from graspfleet.actor.video_writer import BAD, DEFAULT_FPS, GOOD, PLAIN, Picture, VideoWriter
from graspfleet.actor.watchdog import Watchdog
from graspfleet.common.errors import BrokenEpisodeError, ConfigError
from graspfleet.common.observations.fields import Floats, Observation
from graspfleet.common.observations.reading import shown
from graspfleet.common.settings.config import EnvConfig, ReturnConfig

log = logging.getLogger(__name__)

MAX_FPS = 1000
MAX_PICTURE_BYTES = 1 << 28
"""Largest image, bytes: 9,000 pixels square."""
HOLD_FRAMES = 15
"""Repetitions of an episode's last frame, so that viewers can read its outcome."""


class RecordedEnvironment(Environment):
    """An environment that records a video of its first episodes.

    Args:
        config: see `Environment`.
        returns: see `Environment`.
        path: of the video.
        episodes: number of recorded episodes.
        watchdog: see `Environment`.

    Raises:
        ConfigError: the environment renders no images, or the video cannot be written.
    """

    def __init__(
        self,
        config: EnvConfig,
        returns: ReturnConfig,
        path: Path,
        episodes: int,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._writer = VideoWriter(path)
        super().__init__(config, returns, render_mode="rgb_array", watchdog=watchdog, evaluates=True)
        self._writer.fps = fps_of(self.env.metadata)
        self._episodes = self._left = episodes
        self._episode = 0

    def check(self, seeds: np.random.Generator) -> tuple[Observation, float]:
        """Check the environment and its rendering, see `Environment.check`."""
        result = super().check(seeds)
        self._picture()
        return result

    def reset(self, seed: int) -> Observation:
        """Reset the environment; start the next recording, or finish the video after the last one."""
        obs = super().reset(seed)
        self._episode += 1
        self._step, self._return = 0, 0.0
        if self._left == 0:
            self.finish()
        else:
            self._shoot("", PLAIN)
        return obs

    def step(self, action: Floats) -> tuple[Observation, float, bool, bool, Mapping[str, Any]]:
        """Take and record a step, see `Environment.step`."""
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
        # Like `reinit`, the attribute `object_name` is optional.
        names = [name] if (name := getattr(self.env.unwrapped, "object_name", "")) else []
        text = "   ".join(
            [f"episode {self._episode}", *names, f"step {self._step}", f"return {self._return:.2f}"]
        )
        for _ in range(times):
            self._writer.add(picture, text, word, color)

    def _picture(self) -> Picture:
        """Return the environment's image.

        Raises:
            ConfigError: the environment renders no RGB image.
        """
        try:
            picture = self.render()
        except BrokenEpisodeError as error:
            raise ConfigError(f"--video: {self.name} renders no images: {error}") from None
        if not (
            isinstance(picture, np.ndarray)
            and picture.dtype == np.uint8
            and picture.ndim == 3
            and picture.shape[2] == 3
            and 0 < picture.size <= MAX_PICTURE_BYTES
        ):
            raise ConfigError(
                f"--video: {self.name} renders {shown(picture)};"
                " allowed: render_mode rgb_array, an array [height, width, 3] of uint8"
            )
        return picture

    def finish(self) -> int:
        """Finish the video and return the number of complete episodes in it.

        Raises:
            ConfigError: the video cannot be written.
        """
        self._writer.close()
        return self._episodes - self._left

    def close(self) -> None:
        """Close the environment, and remove an unfinished video."""
        self._writer.drop()
        super().close()


def fps_of(metadata: Any) -> int:
    """Return the frames per second that an environment declares; `DEFAULT_FPS` if it declares none."""
    said = metadata.get("render_fps") if isinstance(metadata, Mapping) else None
    if said is None:
        return DEFAULT_FPS
    if not isinstance(said, int | float | np.number) or not 1 <= said <= MAX_FPS:  # false for NaN
        log.warning("render_fps is %s; allowed: 1 to %d; using %d", shown(said), MAX_FPS, DEFAULT_FPS)
        return DEFAULT_FPS
    return round(float(said))
