"""`graspfleet train` as its user meets it."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from graspfleet.common.runtime.run_directory import RunDirectory
from tests.chaos.audit import audit
from tests.end_to_end.harness import TINY, Fleet, until

QUICK = (
    *TINY,
    "--explore-steps",
    "200",
    "--updates-per-step",
    "0.2",
    "--eval-episodes",
    "2",
    "--eval-interval-s",
    "1",
)


def children_of(pid: int) -> dict[str, psutil.Process]:
    found = {}
    for child in psutil.Process(pid).children():
        try:
            words = child.cmdline()
        except psutil.Error:  # it has ended meanwhile
            continue
        if "-m" in words:
            name = (
                words[words.index("--actor-id") + 1]
                if "--actor-id" in words
                else words[words.index("-m") + 1].rpartition(".")[2]
            )
            found[name] = child
    return found


def another_learner(pid: int, killed: list[int]) -> psutil.Process | None:
    learner = children_of(pid).get("learner")
    return None if learner is None or learner.pid in killed else learner


def trained(run: RunDirectory) -> bool:
    return (
        run.metrics.exists() and '"updates_per_s"' in run.metrics.read_text() and run.policy("last").exists()
    )


def test_a_run_ends_with_everything_written(fleet: Fleet) -> None:
    flags = (
        *QUICK,
        "--total-env-steps",
        "6000",  # enough for the evaluator, which starts when the learner runs, to report
        "--final-episodes",
        "20",
        "--actors",
        "2",
        "--updates-per-step",
        "1",
    )
    fleet.start("train", "graspfleet", "train", *flags, "--run-dir", str(fleet.run.path))
    assert fleet.wait("train") == 0, fleet.output("train")
    output = fleet.output("train")
    assert "6,0" in output
    assert "Traceback" not in output
    summary = json.loads(fleet.run.evaluation.read_text())
    assert summary["episodes"] == 20
    assert "policies on the same seeds, up to 20 episodes each" in summary["chosen_by"]
    assert f"policy from env step {summary['policy_env_steps']:,}: {summary['chosen_by']}" in output
    assert summary["mean_return"] < 0
    assert fleet.run.curve.stat().st_size > 10_000
    for path in (
        fleet.run.config,
        fleet.run.policy("best"),
        fleet.run.checkpoints / "best.pt",
        fleet.run.tensorboard,
    ):
        assert path.exists(), path
    shown = subprocess.run(
        [sys.executable, "-m", "graspfleet", "evaluate", str(fleet.run.path), "--episodes", "2", "--json"],
        capture_output=True,
        check=True,
    )
    again = json.loads(shown.stdout)
    assert again["episodes"] == 2
    assert again["policy"] == str(fleet.run.policy("best"))
    assert again["chosen_by"] == summary["chosen_by"]
    assert again["policy_env_steps"] == summary["policy_env_steps"]


def test_ctrl_c_saves_leaves_no_orphan_and_resume_goes_on(fleet: Fleet, tmp_path: Path) -> None:
    flags = (*QUICK, "--total-env-steps", "1000000", "--checkpoint-interval-s", "1")
    train = fleet.start("train", "graspfleet", "train", *flags, "--run-dir", str(fleet.run.path))
    until(lambda: trained(fleet.run), "training is under way")
    until(lambda: len(psutil.Process(train.pid).children()) >= 3, "learner, actor and evaluator run")
    family = psutil.Process(train.pid).children(recursive=True)
    train.send_signal(signal.SIGINT)
    assert fleet.wait("train") == 0, fleet.output("train")
    assert "--resume" in fleet.output("train")
    assert "Traceback" not in fleet.output("train")
    assert not [
        process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]
    before = json.loads(fleet.run.metrics.read_text().splitlines()[-1])
    more = str(int(before["env_steps"]) + 1000)
    again = ("--resume", str(fleet.run.path), "--total-env-steps", more, "--final-episodes", "1")
    fleet.start("again", "graspfleet", "train", *again)
    assert fleet.wait("again") == 0, fleet.output("again")
    after = json.loads(fleet.run.metrics.read_text().splitlines()[-1])
    assert after["env_steps"] >= before["env_steps"] + 1000
    assert after["updates"] > before["updates"]
    assert after["produced"] == after["inserted"] + after["rejected"]


@pytest.mark.slow
def test_a_dead_actor_is_restarted_counted_and_shown(fleet: Fleet) -> None:
    flags = (*QUICK, "--total-env-steps", "1000000", "--actors", "2", "--max-restarts", "1")
    train = fleet.start("train", "graspfleet", "train", *flags, "--run-dir", str(fleet.run.path))
    until(lambda: trained(fleet.run), "training is under way")
    first = children_of(train.pid)["actor-0"]
    first.kill()
    until(lambda: "restart 1 of 1: actor-0 ended by SIGKILL" in fleet.output("train"), "the restart is shown")
    successor = until(lambda: children_of(train.pid).get("actor-0"), "a successor")
    assert successor.pid != first.pid
    train.send_signal(signal.SIGTERM)
    assert fleet.wait("train") == 0, fleet.output("train")


def test_a_killed_learner_is_started_again_and_nothing_is_lost(fleet: Fleet, tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    sizes = ("--hidden-dim", "16", "--batch-size", "32", "--replay-capacity", "200000")
    env = ("--env", "tests.chaos.counting_env:Counting-v0", "--env-args", f"folder={made}")
    few = ("--updates-per-step", "0.05", "--explore-steps", "200", "--actors", "2", "--final-episodes", "0")
    often = ("--checkpoint-interval-s", "0.5", "--eval-episodes", "1", "--total-env-steps", "30000")
    train = fleet.start(
        "train", "graspfleet", "train", *env, *sizes, *few, *often, "--run-dir", str(fleet.run.path)
    )
    until(fleet.run.endpoints.exists, "the learner listens")
    fleet.endpoints = fleet.run.read_endpoints()
    killed: list[int] = []
    for number in (1, 2):
        statuses = fleet.statuses()
        learner = until(lambda: another_learner(train.pid, killed), "a learner")
        statuses.until(lambda status: status.metrics.get("env_steps", 0) >= 500, "it learns")
        learner.kill()
        statuses.close()
        killed.append(learner.pid)
        until(lambda: another_learner(train.pid, killed), "its successor")
        assert f"restart {number} of 10: learner ended by SIGKILL" in fleet.output("train")
    assert fleet.wait("train", 120) == 0, fleet.output("train")
    assert fleet.run.read_endpoints() == fleet.endpoints
    found = audit(fleet.run, 200_000, made)
    assert (found.twice, found.counters.get("lost", 0), found.totals["rejected"]) == (0, 0, 0), found
    assert found.totals["produced"] == found.totals["inserted"]
    assert "audit: " in fleet.output("train")


@pytest.mark.slow
def test_a_learner_killed_before_its_first_checkpoint_begins_anew(fleet: Fleet) -> None:
    flags = (*QUICK, "--total-env-steps", "400", "--final-episodes", "0", "--actors", "1")
    train = fleet.start("train", "graspfleet", "train", *flags, "--run-dir", str(fleet.run.path))
    until(lambda: children_of(train.pid).get("learner"), "a learner").kill()
    assert fleet.wait("train", 120) == 0, fleet.output("train")
    assert "restart 1 of 10: learner ended by SIGKILL" in fleet.output("train")
    assert fleet.run.has_begun()


@pytest.mark.slow
def test_a_learner_that_dies_too_often_leaves_the_line_that_goes_on(fleet: Fleet) -> None:
    flags = (*QUICK, "--total-env-steps", "1000000", "--max-restarts", "0")
    train = fleet.start("train", "graspfleet", "train", *flags, "--run-dir", str(fleet.run.path))
    until(lambda: trained(fleet.run), "training is under way")
    children_of(train.pid)["learner"].kill()
    assert fleet.wait("train") == 1
    assert "learner ended by SIGKILL" in fleet.output("train")
    assert fleet.output("train").endswith(f"resume with: graspfleet train --resume {fleet.run.path}\n")


@pytest.mark.slow
def test_a_killed_launcher_leaves_no_orphan(fleet: Fleet) -> None:
    train = fleet.start(
        "train",
        "graspfleet",
        "train",
        *QUICK,
        "--total-env-steps",
        "1000000",
        "--run-dir",
        str(fleet.run.path),
    )
    until(lambda: trained(fleet.run), "training is under way")
    family = psutil.Process(train.pid).children(recursive=True)
    train.kill()
    train.wait()
    until(lambda: not any(process.is_running() for process in family), "its children leave")


def test_ctrl_c_before_anything_has_begun_is_no_error(fleet: Fleet) -> None:
    train = fleet.start("train", "graspfleet", "train", *QUICK, "--run-dir", str(fleet.run.path))
    until((fleet.run.logs / "learner.log").exists, "the learner is being started")
    train.send_signal(signal.SIGINT)
    assert fleet.wait("train") == 0, fleet.output("train")
    assert "stopped before the first transition" in fleet.output("train")
    assert "Traceback" not in fleet.output("train")


def test_a_resume_that_is_refused_changes_nothing(fleet: Fleet) -> None:
    first = (*QUICK, "--total-env-steps", "400", "--final-episodes", "0", "--actors", "1")
    fleet.start("train", "graspfleet", "train", *first, "--run-dir", str(fleet.run.path))
    assert fleet.wait("train") == 0, fleet.output("train")
    settings = fleet.run.config.read_bytes()
    again = ("--resume", str(fleet.run.path), "--total-env-steps", "800", "--hidden-dim", "48")
    fleet.start("again", "graspfleet", "train", *again)
    assert fleet.wait("again") == 2, fleet.output("again")
    last = fleet.output("again").splitlines()[-1]
    assert "--hidden-dim 48: the run uses --hidden-dim 32; allowed: the same" in last
    assert "Traceback" not in fleet.output("again")
    assert fleet.run.config.read_bytes() == settings


@pytest.mark.slow
def test_an_environment_that_a_resumed_run_refuses_changes_nothing(fleet: Fleet) -> None:
    first = (*QUICK, "--total-env-steps", "400", "--final-episodes", "0", "--actors", "1")
    fleet.start("train", "graspfleet", "train", *first, "--run-dir", str(fleet.run.path))
    assert fleet.wait("train", 120) == 0, fleet.output("train")
    settings = fleet.run.config.read_bytes()
    again = ("--resume", str(fleet.run.path), "--total-env-steps", "4000", "--env-args", "no_such=5")
    fleet.start("again", "graspfleet", "train", *again)
    assert fleet.wait("again", 120) == 2, fleet.output("again")
    assert "Traceback" not in fleet.output("again")
    assert "no_such" in fleet.output("again").splitlines()[-1]
    assert fleet.run.config.read_bytes() == settings


@pytest.mark.slow
def test_a_run_whose_actors_all_die_ends_with_status_1(fleet: Fleet) -> None:
    flags = (*QUICK, "--total-env-steps", "1000000", "--actors", "1", "--max-restarts", "0")
    train = fleet.start("train", "graspfleet", "train", *flags, "--run-dir", str(fleet.run.path))
    until(lambda: trained(fleet.run), "training is under way")
    children_of(train.pid)["actor-0"].kill()
    assert fleet.wait("train") == 1, fleet.output("train")
    assert "not restarted (--max-restarts 0): actor-0 ended by SIGKILL" in fleet.output("train")
    assert "all actors have died too often" in fleet.output("train")
