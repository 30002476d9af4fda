"""Films of episodes: `graspfleet evaluate RUN_DIR --video FILE.mp4`.

In: any Gymnasium environment that draws pictures. Out: a film whose frames say how it went. It knows neither
what is seen nor who acts.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from actor.contract import shown
from actor.environment import Environment
from actor.film import BAD, DEFAULT_FPS, GOOD, PLAIN, Film, Picture
from actor.watchdog import Watchdog
from common.config import EnvConfig, ReturnConfig
from common.errors import BrokenEpisodeError, ConfigError
from common.specs import Floats

log = logging.getLogger(__name__)

MAX_FPS = 1000
MAX_PICTURE_BYTES = 1 << 28
"""Of one picture: 9,000 pixels square."""
HOLD_FRAMES = 15
"""How often the last picture of an episode is shown, so that its outcome can be read."""


class FilmedEnvironment(Environment):
    """An environment whose first episodes are filmed.

    Args:
        config: which environment.
        returns: as `Environment`.
        path: of the film.
        episodes: how many are filmed.
        watchdog: as `Environment`.

    Raises:
        ConfigError: it draws no pictures, or the film cannot be written.
    """

    def __init__(
        self,
        config: EnvConfig,
        returns: ReturnConfig,
        path: Path,
        episodes: int,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._film = Film(path)
        super().__init__(config, returns, render_mode="rgb_array", watchdog=watchdog)
        self._film.fps = fps_of(self.env.metadata)
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
