"""An environment of the user's in the working directory, beside files called as this program's are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.actor.misbehaving_envs import Counting
from tests.actor.test_evaluate import run_with
from tests.end_to_end.harness import site

OWN = """
import os
import gymnasium, numpy as np
from gymnasium.spaces import Box
from common import STEP_COSTS

class Own(gymnasium.Env):
    observation_space = Box(-np.inf, np.inf, (3,), np.float32)
    action_space = Box(-1, 1, (2,), np.float32)

    def __init__(self, mesh=None):
        from common import STEP_COSTS
        if mesh:
            open(mesh)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(3, self.t, np.float32), -STEP_COSTS, False, self.t >= 20, {}

gymnasium.register("Counting-v0", f"{__name__}:Own")
"""
"""Reads a constant of `common.py` beside it."""
START = "import sys; sys.path.remove(''); from graspfleet.cli import main; main()"
"""As the console command does, whose path does not begin with the working directory."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "common.py").write_text("STEP_COSTS = 1.0")
    (tmp_path / "graspfleet.py").write_text("raise RuntimeError('this is the user\\'s')")
    for name in ("actor", "learner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('this is the user\\'s')")
    (tmp_path / "random.py").write_text("raise RuntimeError('this is the user\\'s')")
    return tmp_path


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", START, *words],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=folder,
        env={"PYTHONPATH": str(site(folder)), "PATH": "", "CUDA_VISIBLE_DEVICES": ""},
    )


def mistakes(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """Return what is no line of the log."""
    return [line for line in done.stderr.splitlines() if not line[:1].isdigit()]


ENVS = ("own:Counting-v0", "own.py:Counting-v0", "./own.py:Counting-v0")


@pytest.mark.parametrize("env", ENVS)
def test_evaluate_finds_it(folder: Path, env: str) -> None:
    written = run_with(folder, Counting)
    settings = written.config.read_text().replace("env: Counting-v0", f"env: {env}")
    assert env in settings
    written.config.write_text(settings)
    done = run(folder, "evaluate", ".", "--episodes", "2")
    assert (done.returncode, done.stdout) == (0, "2 episodes: return -20.00 ± 0.00\n"), done.stderr


@pytest.mark.parametrize("env", ENVS[:2])
def test_train_finds_it_and_says_in_one_line_what_is_wrong_with_it(folder: Path, env: str) -> None:
    words = (
        "--run-dir",
        "run",
        "--actors",
        "1",
        "--total-env-steps",
        "1000",
        "--env-args",
        "mesh=no/such.urdf",
    )
    done = run(folder, "train", "--env", env, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(mistakes(done)) == 1, done.stderr
    found = str(folder / env) if ".py:" in env else env
    line = f"error: --env {found} {{'mesh': 'no/such.urdf'}}: FileNotFoundError: "
    assert mistakes(done)[0].startswith(line)
    assert "restart" not in done.stdout


def test_an_actor_finds_it_and_checks_it_before_it_connects(folder: Path) -> None:
    (folder / "common.py").write_text("STEP_COSTS = 'one'")
    done = run(folder, "actor", "--env", "own:Counting-v0", "--connect-timeout-s", "60")
    assert done.returncode == 2
    assert len(mistakes(done)) == 1, done.stderr
    assert "TypeError: bad operand type for unary -: 'str' (own.py:" in mistakes(done)[0]


def test_json_is_all_that_goes_to_standard_output_wherever_the_environment_goes(folder: Path) -> None:
    noise = """
import atexit, os
class Loud(Own):
    def __init__(self):
        super().__init__()
        os.chdir("/")
        atexit.register(os.system, "echo bye")
    def step(self, action):
        print("no end of line", end="")
        os.write(1, b"from C")
        return super().step(action)
    def close(self):
        print({"closed": 1})
gymnasium.register("Counting-v0", f"{__name__}:Loud")
"""
    (folder / "own.py").write_text(OWN + noise)
    written = run_with(folder, Counting)
    written.config.write_text(written.config.read_text().replace("env: Counting-v0", "env: own:Counting-v0"))
    done = run(folder, "evaluate", ".", "--episodes", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mean_return"] == -20
    assert "from C" in done.stderr


@pytest.mark.slow
def test_train_fails_if_its_last_evaluation_does(folder: Path) -> None:
    (folder / "own.py").write_text("import sys\nassert 'evaluate' not in sys.argv, 'one robot only'\n" + OWN)
    words = "--run-dir run --actors 1 --total-env-steps 60 --explore-steps 40 --final-episodes 2"
    done = run(folder, "train", "--env", "own:Counting-v0", *words.split())
    assert "evaluation ended with status 2" in done.stderr, done.stdout + done.stderr
    assert "one robot only" in done.stderr
    assert done.returncode == 1
