"""Images from the environment to the policy: trained, stopped, resumed, evaluated, filmed, and killed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.chaos.audit import reopen
from tests.end_to_end.harness import Fleet, until

DOT = ("--env", "tests.end_to_end.camera_envs:Dot-v0")
CAMERAS = ("--env", "tests.end_to_end.camera_envs:Cameras-v0")
SMALL = ("--hidden-dim", "16", "--latent-dim", "8", "--batch-size", "16", "--replay-capacity", "2000")
SHORT = ("--explore-steps", "100", "--actors", "1", "--final-episodes", "5", "--compare-episodes", "0")
CAPACITY = 4000


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "graspfleet", *words],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=Path(__file__).parents[2],
    )


def test_images_are_trained_on_resumed_evaluated_and_filmed(fleet: Fleet, tmp_path: Path) -> None:
    where = str(fleet.run.path)
    words = ("--n-step", "3", "--envs-per-actor", "2", "--normalize-obs", "--ema-tau", "0.1")
    fleet.start(
        "train",
        "graspfleet",
        "train",
        *DOT,
        *SMALL,
        *SHORT,
        *words,
        "--total-env-steps",
        "400",
        "--run-dir",
        where,
    )
    assert fleet.wait("train", 100) == 0, fleet.output("train")
    assert "produced 400, inserted 400" in fleet.output("train")
    fleet.start("more", "graspfleet", "train", "--resume", where, "--total-env-steps", "600")
    assert fleet.wait("more", 100) == 0, fleet.output("more")
    assert "nothing lost" in fleet.output("more")
    film = tmp_path / "dot.mp4"
    done = command("evaluate", where, "--episodes", "5", "--json", "--video", str(film))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["episodes"] == 5
    assert film.stat().st_size > 1000
    refused = command("evaluate", where, "--env-args", "side=16")
    assert refused.returncode == 2
    assert "image (16, 16, 1) uint8" in refused.stderr.strip().splitlines()[-1]


def test_what_no_longer_fits_a_run_is_refused(fleet: Fleet) -> None:
    where = str(fleet.run.path)
    words = (*DOT, *SMALL, *SHORT, "--total-env-steps", "150", "--run-dir", where)
    fleet.start("train", "graspfleet", "train", *words)
    assert fleet.wait("train", 100) == 0, fleet.output("train")
    for flag in (
        "--latent-dim=16",
        "--encoder-layers=8x8",
        "--replay-capacity=1000",
        "--privileged-obs=state",
    ):
        done = command("train", "--resume", where, "--total-env-steps", "300", *flag.split("="))
        assert done.returncode == 2, (flag, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_image_is_what_the_policy_uses(fleet: Fleet) -> None:
    where = str(fleet.run.path)
    words = (*DOT, "--preset", "images", "--actors", "1", "--run-dir", where)
    fleet.start("train", "graspfleet", "train", *words)
    assert fleet.wait("train", 800) == 0, fleet.output("train")
    assert json.loads(fleet.run.evaluation.read_text())["success_rate"] >= 0.95
    blanked = command("evaluate", where, "--policy", "last", "--env-args", "blank=true", "--json")
    assert json.loads(blanked.stdout)["success_rate"] < 0.3


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_cameras_of_four_robots_lose_nothing_and_are_stored_once(fleet: Fleet) -> None:
    learner = (*CAMERAS, *SMALL, "--replay-capacity", str(CAPACITY), "--updates-per-step", "None")
    learner += ("--explore-steps", "1000000", "--total-env-steps", "1000000")
    fleet.start_learner(*learner)
    for name in "abcd":
        fleet.start_actor(name, *CAMERAS)
    until(lambda: fleet.run.metrics.exists() and env_steps(fleet) > 300, "env steps arrive")
    size_kib = memory_kib(fleet.pid("learner"))
    fleet.kill("d")
    fleet.kill("learner")
    time.sleep(2)
    fleet.start("learner", "graspfleet.learner", "--resume", str(fleet.run.path), *fleet.addresses())
    start = env_steps(fleet)
    until(lambda: env_steps(fleet) > start + 600, "env steps arrive again")
    assert memory_kib(fleet.pid("learner")) < size_kib + 400_000
    for name in "abc":
        fleet.signal(name, signal.SIGTERM)
    assert [fleet.wait(name) for name in "abc"] == [0, 0, 0]
    fleet.signal("learner", signal.SIGTERM)
    fleet.wait("learner")
    replay, ingest = reopen(fleet.run, CAPACITY)
    rows, totals, frames = replay.read(0, replay.rows.count), ingest.sessions.totals(), replay.num_frames
    assert totals["produced"] == totals["inserted"] == len(rows) > 900
    assert frames <= 1.1 * len(rows)
    stored = replay.frames
    assert stored is not None
    assert stored.item_bytes == 2 * 128 * 128 * 3
    for first in range(0, len(rows), 100):
        part = rows[first : first + 100]
        for name, obs in (("frame", "obs"), ("next_frame", "next_obs")):
            pixels = np.stack([stored.read(int(number), 1)[0] for number in part[name]])
            for camera in (0, 128 * 128 * 3):
                counts = np.ascontiguousarray(pixels[:, camera + 8 : camera + 12]).view("<u4").ravel()
                assert counts.tolist() == part[obs][:, 0].astype(int).tolist()


def env_steps(fleet: Fleet) -> int:
    rows = fleet.run.metrics.read_text().splitlines() if fleet.run.metrics.exists() else []
    return int(json.loads(rows[-1])["env_steps"]) if rows else 0


def memory_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])
