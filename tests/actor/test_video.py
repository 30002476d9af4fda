"""Films: every frame is there, says how it went, and what cannot be filmed is one line."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from actor import video
from actor.video import Film, FilmedEnvironment
from common.config import EnvConfig, ReturnConfig
from common.errors import ConfigError

PICTURE = np.full((60, 81, 3), 200, np.uint8)
STILL = np.array([0, 0, 0, 0, 1], np.float32)


def frames(path: Path, width: int, height: int) -> np.ndarray[Any, Any]:
    """Return [n, height, width, 3]; imageio-ffmpeg's own reader leaves its pipes open."""
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def test_a_film_has_every_picture_with_its_text(tmp_path: Path) -> None:
    film = Film(tmp_path / "film.mp4", fps=20)
    for number in range(12):
        film.add(PICTURE, f"step {number}", "success", video.GOOD)
    film.close()
    film.close()
    width = 82  # sizes are made even
    shown = frames(tmp_path / "film.mp4", width, 90)
    assert len(shown) == 12
    assert shown[0][:60].mean() == pytest.approx(200, abs=6)
    band = shown[0][60:].astype(int)
    assert band[:, : width // 2].max() > 150, "white"
    assert (band[..., 1] - band[..., 2]).max() > 30, "green"


def test_the_first_episodes_are_filmed_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    config = EnvConfig(env="Grasp-v0", env_args=("physics=fast",), max_episode_steps=3)
    env = FilmedEnvironment(config, ReturnConfig(), path, episodes=1)
    for seed in range(2):
        env.reset(seed)
        for _ in range(3):
            result = env.step(STILL)
        assert result[3]
    env.close()
    assert len(frames(path, 480, 390)) == 1 + 2 + video.HOLD_FRAMES


def test_what_cannot_be_filmed_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--video .*a file in a folder that exists"):
        Film(tmp_path / "nowhere" / "film.mp4", fps=20)
    with pytest.raises(ConfigError, match=r"--video .*a file in a folder that exists"):
        Film(tmp_path, fps=20)
