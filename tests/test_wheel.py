"""The wheel, installed, beside modules of a user that have the names of this program's folders."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("actor", "common", "graspfleet", "learner")
FILES = ("pyproject.toml", "README.md", "LICENSE")
EXTRA = ("torch", "numba", "tensorboard", "matplotlib", "minari", "h5py", "threadpoolctl")
"""Packages of the extra `learner`."""
OWN = """
import gymnasium, numpy as np
from gymnasium.spaces import Box
from common import STEP_COSTS

class Own(gymnasium.Env):
    observation_space = Box(-1, 1, (3,), np.float32)
    action_space = Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(3, np.float32), -STEP_COSTS, False, self.t >= 20, {}

gymnasium.register("Own-v0", f"{__name__}:Own")
"""
SMALL = (
    "--preset",
    "plain",
    "--actors",
    "1",
    "--hidden-dim",
    "16",
    "--batch-size",
    "16",
    "--compare-episodes",
    "0",
)
SHORT = ("--total-env-steps", "300", "--explore-steps", "100", "--final-episodes", "2")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    for part in FOLDERS:
        shutil.copytree(ROOT / part, folder / "source" / part, symlinks=True)
    for part in FILES:
        shutil.copy(ROOT / part, folder / "source")
    words = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder))
    subprocess.run([sys.executable, "-m", "pip", *words, str(folder / "source")], check=True, timeout=100)
    return next(folder.glob("graspfleet-*.whl"))


class Installed:
    """An environment with the wheel, and links to the packages that it needs."""

    def __init__(self, folder: Path, wheel: Path, without: tuple[str, ...] = ()) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
        places = [Path(place) for place in sys.path if place.endswith("site-packages")]
        for entry in (entry for place in places for entry in place.iterdir()):
            name = entry.name.lower()
            if not (name.startswith(("graspfleet", "__editable__", *without)) or entry.suffix == ".pth"):
                (site / entry.name).exists() or (site / entry.name).symlink_to(entry)
        self._bin = folder / "venv" / "bin"
        words = ("--python", str(self._bin / "python"), "install", "--quiet", "--no-deps", str(wheel))
        subprocess.run([sys.executable, "-m", "pip", *words], check=True, timeout=100)

    def run(self, folder: Path, program: str, *words: str) -> "subprocess.CompletedProcess[str]":
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [self._bin / program, *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
        )

    def output(self, folder: Path, program: str, *words: str) -> str:
        done = self.run(folder, program, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def whole(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("whole"), wheel)


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("plain"), wheel, without=EXTRA)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A folder of a user, whose modules are named as this program's folders."""
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "__init__.py").write_text("STEP_COSTS = 1.0")
    for name in ("actor.py", "learner.py"):
        (tmp_path / name).write_text("raise RuntimeError('this is the user\\'s')")
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


@pytest.mark.slow
def test_the_cube_is_trained_and_evaluated_beside_them(
    whole: Installed, plain: Installed, users: Path
) -> None:
    version = whole.output(users, "graspfleet", "--version")
    assert version.startswith("graspfleet 0.")
    whole.output(users, "graspfleet", "train", "--env", "Grasp-v0", *SMALL, *SHORT, "--run-dir", "cube")
    for installed in (whole, plain):
        found = json.loads(
            installed.output(users, "graspfleet", "evaluate", "cube", "--episodes", "2", "--json")
        )
        assert found["episodes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("env", ["own:Own-v0", "own.py:Own-v0"])
def test_an_environment_finds_the_common_of_its_user(whole: Installed, users: Path, env: str) -> None:
    whole.output(users, "graspfleet", "train", "--env", env, *SMALL, *SHORT, "--run-dir", "own")
    found = json.loads(whole.output(users, "graspfleet", "evaluate", "own", "--episodes", "2", "--json"))
    assert found["mean_return"] == -20.0


@pytest.mark.slow
def test_without_the_extra_all_but_learning_works(plain: Installed, users: Path) -> None:
    for command in ("train", "learner"):
        done = plain.run(users, "graspfleet", command)
        line = f"error: {command} needs torch; install it with: pip install 'graspfleet[learner]'\n"
        assert (done.returncode, done.stderr) == (2, line)
    done = plain.run(users, "graspfleet", "actor", "--env", "own:Own-v0", "--connect-timeout-s", "0.5")
    assert done.returncode == 2
    assert "no answer within" in done.stderr
    assert "init" in plain.output(users, "graspfleet", "keys", "--help")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["actor", "common", "learner"])
def test_nothing_is_installed_under_a_name_that_users_take(
    whole: Installed, tmp_path: Path, name: str
) -> None:
    found = (
        f"import importlib.util as u; print(u.find_spec('{name}'), u.find_spec('graspfleet.{name}').origin)"
    )
    none, origin = whole.output(tmp_path, "python", "-c", found).split()
    assert none == "None"
    assert "site-packages" in origin
