"""`graspfleet train` with mistakes of its user and faults of the environment: told, bounded, cleaned up."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.harness import ROOT, TINY, until

DYING = "tests.end_to_end.dying_envs:Dying-v0"
SHORT = (
    *("--hidden-dim", "16", "--batch-size", "16", "--replay-capacity", "5000", "--explore-steps", "40"),
    *("--actors", "1", "--updates-per-step", "0.2", "--eval-episodes", "2", "--compare-episodes", "0"),
)
STOPS_WITHIN_S = 5.0
"""From Ctrl-C on; 1 s on a machine that does nothing else."""


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "graspfleet", "train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
    )


def train(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    process = start(folder, *words)
    try:
        out, err = process.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert "Traceback" not in out + err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def dying(how: str, **arguments: object) -> tuple[str, ...]:
    words = [f"how={how}", *(f"{name}={value}" for name, value in arguments.items())]
    return ("--env", DYING, *SHORT, "--env-args", *words)


MISTAKES = {
    "env": ("--env", "NoSuch-v0"),
    "env-args": ("--env", "Pendulum-v1", "--env-args", "no_such=3"),
    "device": ("--env", "Pendulum-v1", "--device", "cuda"),
    "demos": ("--env", "Pendulum-v1", "--demos", "./nowhere"),
    "explore-steps": ("--env", "Pendulum-v1", "--explore-steps", "9", "--total-env-steps", "8"),
}


@pytest.mark.parametrize("flag", MISTAKES)
@pytest.mark.parametrize("named", [(), ("--run-dir", "deep/run")], ids=["", "run-dir"])
def test_a_mistake_leaves_nothing_behind(flag: str, named: tuple[str, ...], tmp_path: Path) -> None:
    done = train(tmp_path, *MISTAKES[flag], *named)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"error: --{flag}" if flag != "env-args" else "error: --env Pendulum-v1")
    assert list(tmp_path.iterdir()) == []


def test_no_actor_is_started_for_a_device_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert train(tmp_path, *MISTAKES["device"], "--run-dir", "run").returncode == 2
    assert [path.name for path in (tmp_path / "run" / "logs").glob("*.log")] == ["learner.log"]


@pytest.mark.parametrize(
    ("how", "at", "reason"),
    [
        ("exit 0", "reset", "actor-0 ended with status 0"),
        ("exit 2", "make", "actor-0 ended with status 2"),
        ("SIGSEGV", "step", "actor-0 ended by SIGSEGV"),
        ("SIGKILL", "reset", "actor-0 ended by SIGKILL (sent by another process, or out of memory)"),
    ],
)
def test_an_environment_that_always_ends_its_process_at_the_start_is_a_mistake(
    how: str, at: str, reason: str, tmp_path: Path
) -> None:
    done = train(tmp_path, *dying(how, at=at))
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith(f"error: --env {DYING}: {reason} (")
    assert "restart 2 of 10: " in done.stdout
    assert "restart 3 of 10" not in done.stdout
    assert "this is not what ends it" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["interrupt", "system exit"])
@pytest.mark.parametrize("at", ["make", "reset"])
def test_what_an_environment_raises_is_its_own_fault_whatever_it_is(
    how: str, at: str, tmp_path: Path
) -> None:
    done = train(tmp_path, *dying(how, at=at))
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith(f"error: --env {DYING}")
    assert ("KeyboardInterrupt" if how == "interrupt" else "SystemExit") in done.stderr
    assert "restart" not in done.stdout


@pytest.mark.slow
def test_a_death_in_the_middle_is_passing_and_the_reason_is_right(tmp_path: Path) -> None:
    words = ("--total-env-steps", "200", "--final-episodes", "2", "--run-dir", "run")
    done = train(tmp_path, *dying("exit 3", after=120, unless="evaluat"), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"restart 1 of 10: actor-0 ended with status 3 ({Path('run/logs/actor-0.log')}); in 0.5 s" in (
        done.stdout
    )


def test_the_result_is_the_evaluations_and_a_hint_is_shown_once(tmp_path: Path) -> None:
    words = ("--total-env-steps", "200", "--final-episodes", "3", "--run-dir", "run")
    done = train(tmp_path, *dying(""), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["mean_return"] == -20
    assert "3 episodes: return -20.00" in done.stdout
    assert done.stdout.count("--success-key success") == 1
    assert "hint: info has no key 'is_success', but 'success'" in done.stdout


def test_a_run_whose_last_evaluation_breaks_altogether_fails_and_says_why(tmp_path: Path) -> None:
    # The check takes one step; each episode breaks at its second one.
    words = ("--total-env-steps", "200", "--final-episodes", "3", "--run-dir", "run")
    done = train(tmp_path, *dying("error", after=2, unless="--learner"), *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 of 3 episodes broke" in done.stdout
    assert "every episode broke; last error: step() raised RuntimeError: it is broken" in done.stderr
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["broken_episodes"] == 3
    assert (tmp_path / "run" / "curve.png").exists() or "no evaluations, no curve" in (
        (tmp_path / "run" / "logs" / "curve.log").read_text()
    )


def test_ctrl_c_ends_a_run_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, *TINY, "--explore-steps", "100", "--run-dir", "run", "--actors", "1")
    try:
        until((tmp_path / "run" / "policy-last.gfp").exists, "it learns")
        process.send_signal(signal.SIGINT)
        begun_s = time.monotonic()
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - begun_s < STOPS_WITHIN_S
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1] == "stopped and saved; resume with: graspfleet train --resume run"


@pytest.mark.slow
def test_ctrl_c_in_the_last_evaluation_starts_nothing_more(tmp_path: Path) -> None:
    words = ("--total-env-steps", "100", "--final-episodes", "100000", "--run-dir", "run")
    process = start(tmp_path, "--env", DYING, *SHORT, *words)
    log = tmp_path / "run" / "logs" / "evaluation.log"
    try:
        until(lambda: log.exists() and "policy: " in log.read_text(), "the evaluation is under way")
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        begun_s = time.monotonic()
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert time.monotonic() - begun_s < STOPS_WITHIN_S
    assert (process.returncode, err) == (0, "")
    last = out.splitlines()[-1]
    assert last.startswith("stopped; ")
    assert last.endswith(
        "remaining steps: graspfleet evaluate run; python -m graspfleet.learner.reporting.curve run"
    )
    assert not (tmp_path / "run" / "logs" / "curve.log").exists()
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def test_ctrl_c_before_anything_has_begun_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path, *TINY)
    try:
        until(lambda: list(tmp_path.glob("runs/*/logs/learner.log")), "the learner is being started")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, err) == (0, "")
    assert "stopped before the first transition" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--resume", "--run-dir"])
def test_a_log_file_that_leads_elsewhere_is_refused_at_the_start(flag: str, tmp_path: Path) -> None:
    logs = tmp_path / "run" / "logs"
    logs.mkdir(parents=True)
    if flag == "--resume":
        (tmp_path / "run" / "checkpoints").mkdir()
        (tmp_path / "run" / "checkpoints" / "step-000000000000.pt").write_text("")
        (tmp_path / "run" / "config.yaml").write_text("env: {env: Pendulum-v1}")
    (logs / "learner.log").symlink_to(tmp_path / "precious")
    done = train(tmp_path, flag, "run")
    assert done.returncode == 2
    path = Path("run") / "logs" / "learner.log"
    assert done.stderr.startswith(f"error: {flag} run: {path}: a symbolic link, which is not followed")
    assert not (tmp_path / "precious").exists()
