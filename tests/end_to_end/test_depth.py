"""Depth images of Grasp-v0 from the camera to the policy, beside a teacher and from a given one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.harness import Fleet

ROOT = Path(__file__).parents[2]
SHORT = ("--explore-steps", "200", "--final-episodes", "0", "--compare-episodes", "0", "--actors", "1")
SMALL = ("--hidden-dim", "16", "--latent-dim", "8", "--batch-size", "16", "--replay-capacity", "2000")
STEP = ("--max-unacked-transitions", "64", "--max-batch-transitions", "32")
TEACHER = ROOT / "docs" / "results" / "held-out"
"""A policy for all objects that sees the state."""


def command(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "graspfleet", *words], capture_output=True, text=True, timeout=100, cwd=ROOT
    )


def test_a_policy_learns_beside_its_teacher_is_resumed_and_needs_no_state(fleet: Fleet) -> None:
    where = str(fleet.run.path)
    words = ("--preset", "cube-depth", *SHORT, *SMALL, *STEP, "--total-env-steps", "500", "--run-dir", where)
    fleet.start("train", "graspfleet", "train", *words)
    assert fleet.wait("train", 100) == 0, fleet.output("train")
    assert "nothing lost" in fleet.output("train")
    last = json.loads(fleet.run.metrics.read_text().splitlines()[-1])
    assert last["imitation_loss"] > 0 < last["critic_loss"]
    fleet.start("more", "graspfleet", "train", "--resume", where, "--total-env-steps", "1000")
    assert fleet.wait("more", 100) == 0, fleet.output("more")
    assert "nothing lost" in fleet.output("more")
    done = command("evaluate", where, "--episodes", "2", "--json", "--env-args", "observation=depth")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["episodes"] == 2
    refused = command("evaluate", where, "--episodes", "2", "--env-args", "image_size=48")
    assert refused.returncode == 2
    assert "depth (48, 48, 1) uint8" in refused.stderr.strip().splitlines()[-1]


def test_a_given_policy_teaches_and_demonstrations_have_images(fleet: Fleet, tmp_path: Path) -> None:
    demos = str(tmp_path / "demos")
    made = command(
        "demos", "--episodes", "2", "--out", demos, "--env-args", "physics=fast", "observation=both"
    )
    assert made.returncode == 0, made.stderr
    words = ("--preset", "cube-depth", *SHORT, *SMALL, *STEP, "--total-env-steps", "400", "--demos", demos)
    fleet.start(
        "train", "graspfleet", "train", *words, "--teacher", str(TEACHER), "--run-dir", str(fleet.run.path)
    )
    assert fleet.wait("train", 100) == 0, fleet.output("train")
    last = json.loads(fleet.run.metrics.read_text().splitlines()[-1])
    assert last["imitation_loss"] > 0
    assert last.get("critic_loss") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("--teacher", "nowhere"),
            "nowhere: no readable policy (No such file or directory); allowed: a run directory",
        ),
        (("--env-args", "observation=depth"), "--privileged-obs state: no field of --env Grasp-v0"),
        (("--privileged-obs",), "no privileged field that the teacher could see"),
        (("--teacher", str(TEACHER), "--normalize-obs"), "--normalize-obs: not with --teacher"),
        (
            ("--env-args", "observation=both", "sensor=most"),
            "sensor='most' is unknown; allowed: all, or ranges",
        ),
    ],
)
def test_a_mistake_is_one_line(fleet: Fleet, words: tuple[str, ...], message: str) -> None:
    done = command("train", "--preset", "cube-depth", *SHORT, *words, "--run-dir", str(fleet.run.path))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr.strip().splitlines()[-1]
