"""Films: every frame is there, says how it went, and what cannot be filmed is one line."""

import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from graspfleet.actor import video
from graspfleet.actor.video import RecordedEnvironment, fps_of
from graspfleet.actor.video_writer import DEFAULT_FPS, GOOD, VideoWriter
from graspfleet.common.errors import BrokenEpisodeError, ConfigError
from graspfleet.common.settings.config import EnvConfig, ReturnConfig
from tests.actor import misbehaving_envs
from tests.actor.misbehaving_envs import Counting
from tests.fakes import ONE_LINE

PICTURE = np.full((60, 81, 3), 200, np.uint8)
STILL = np.array([0, 0, 0, 0, 1], np.float32)


def frames(path: Path, width: int, height: int) -> np.ndarray[Any, Any]:
    """Return [n, height, width, 3]; imageio-ffmpeg's own reader leaves its pipes open."""
    command = [get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def config_of(kind: type[Counting]) -> EnvConfig:
    return EnvConfig(env=misbehaving_envs.make(kind).name)


def test_a_film_has_every_picture_with_its_text(tmp_path: Path) -> None:
    film = VideoWriter(tmp_path / "film.mp4")
    for number in range(12):
        film.add(PICTURE, f"step {number}", "success", GOOD)
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
    env = RecordedEnvironment(config, ReturnConfig(), path, episodes=1)
    for seed in range(2):
        env.reset(seed)
        for _ in range(3):
            result = env.step(STILL)
        assert result[3]
    env.close()
    assert len(frames(path, 480, 390)) == 1 + 2 + video.HOLD_FRAMES


def test_what_cannot_be_filmed_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--video .*a file in a folder that exists"):
        VideoWriter(tmp_path / "nowhere" / "film.mp4")
    with pytest.raises(ConfigError, match=r"--video .*a file in a folder that exists"):
        VideoWriter(tmp_path)
    for name in ("film.gif", "film.avi", "film", "film.mp4.txt"):
        with pytest.raises(ConfigError, match=r"--video .*ends in \.mp4"):
            VideoWriter(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_cannot_go_on_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_text("older")
    film = VideoWriter(path)
    film.add(PICTURE, "", "")
    with pytest.raises(ConfigError, match=r"\(61, 81, 3\); allowed: \(60, 81, 3\)"):
        film.add(np.zeros((61, 81, 3), np.uint8), "", "")
    film.drop()
    film.close()
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["older"]


def test_a_folder_that_takes_no_files_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"\A--video /proc/film.mp4: cannot be written \([^\n]+\)\Z"):
        VideoWriter(Path("/proc/film.mp4"))


class FailingEncoder:
    """Takes one picture."""

    def write_frames(self, path: str, size: tuple[int, int], **settings: Any) -> Generator[None, Any, None]:
        Path(path).touch()
        yield
        yield
        raise OSError("the encoder's\nown many lines")


def test_an_encoder_that_fails_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    film = VideoWriter(tmp_path / "film.mp4")
    film._encoder = FailingEncoder()
    film.add(PICTURE, "", "")
    with pytest.raises(ConfigError, match=r"\A--video [^\n]*cannot be written \(the encoder failed\)\Z"):
        film.add(PICTURE, "", "")
    film.drop()
    assert list(tmp_path.iterdir()) == []


PICTURES: dict[str, Any] = {
    "none": None,
    "list": [PICTURE],
    "floats": PICTURE / 255,
    "gray": PICTURE[..., 0],
    "with-alpha": np.zeros((4, 4, 4), np.uint8),
    "empty": np.zeros((0, 4, 3), np.uint8),
}


class Drawing(Counting):
    """Draws `picture`."""

    picture: Any = PICTURE

    def render(self) -> Any:
        if isinstance(self.picture, Exception):
            raise self.picture
        return self.picture


@pytest.mark.parametrize("name", [*PICTURES, "raises", "undefined"])
def test_what_an_environment_draws_is_checked_before_it_is_recorded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Drawing, "picture", PICTURES.get(name, RuntimeError("no display")))
    if name == "undefined":
        monkeypatch.delattr(Drawing, "render")
    env = RecordedEnvironment(config_of(Drawing), ReturnConfig(), tmp_path / "film.mp4", 1)
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        env.check(np.random.default_rng(0))
    assert str(caught.value).startswith("--video: Drawing-v0 renders ")
    env.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [None, 0, -5, float("nan"), float("inf"), "30", 1e9, 0.2])
def test_a_speed_that_is_none_becomes_the_default(fps: Any) -> None:
    assert fps_of({"render_fps": fps}) == DEFAULT_FPS


def test_the_speed_is_the_environments(tmp_path: Path) -> None:
    assert [fps_of(data) for data in ({"render_fps": 50}, {"render_fps": np.float64(29.97)})] == [50, 30]
    assert [fps_of(data) for data in ({}, None, "fast")] == [DEFAULT_FPS] * 3


def test_a_film_of_broken_episodes_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Drawing, "length", 2)
    env = RecordedEnvironment(config_of(Drawing), ReturnConfig(), tmp_path / "film.mp4", 1)
    env.check(np.random.default_rng(0))
    env.reset(0)
    monkeypatch.setattr(Drawing, "observe", lambda self: np.full(3, np.nan, np.float32))
    with pytest.raises(BrokenEpisodeError):
        env.step(np.zeros(2, np.float32))
    monkeypatch.undo()
    monkeypatch.setattr(Drawing, "length", 2)
    env.reset(1)
    for _ in range(2):
        env.step(np.zeros(2, np.float32))
    assert env.finish() == 1
    env.close()
    assert len(frames(tmp_path / "film.mp4", 82, 90)) == 1 + 1 + 1 + video.HOLD_FRAMES
