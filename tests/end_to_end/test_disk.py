"""Faults of the disk: training goes on where it can, stops with one line where it cannot; nothing is lost."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from graspfleet.common.runtime.run_directory import RunDirectory
from tests.chaos.audit import audit
from tests.end_to_end.harness import Fleet, free_endpoints, until

ENV = "tests.chaos.counting_env:Counting-v0"
CAPACITY = 200_000
DISK_BYTES = 24 << 20
"""Room for the replay (8 MB) and the learner's small networks, not for much more."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def full_fleet(fleet: Fleet, disk: Path) -> Fleet:
    """Return a fleet whose run directory lies on the small disk."""
    fleet.run = RunDirectory(disk / "run")
    fleet.endpoints = free_endpoints()
    return fleet


def start_learner(fleet: Fleet, where: str, *flags: str) -> None:
    sizes = ("--hidden-dim", "16", "--batch-size", "32", "--replay-capacity", str(CAPACITY))
    often = ("--checkpoint-interval-s", "0.5", "--keep-checkpoints", "2", "--updates-per-step", "0.05")
    command = (
        "graspfleet.learner",
        "--env",
        ENV,
        *sizes,
        *often,
        *fleet.addresses(),
        where,
        str(fleet.run.path),
    )
    fleet.start("learner", *command, *flags)


def start_actor(fleet: Fleet, made: Path) -> None:
    made.mkdir()
    command = (
        "graspfleet.actor",
        "--env",
        ENV,
        "--env-args",
        f"folder={made}",
        "--actor-id",
        "a",
        "--linger-s",
        "30",
    )
    fleet.start("a", *command, *fleet.addresses())


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError:
            pass
    return filler


def test_a_full_disk_stops_the_learner_with_one_line_and_costs_nothing(
    full_fleet: Fleet, disk: Path, tmp_path: Path
) -> None:
    fleet, made = full_fleet, tmp_path / "made"
    start_learner(fleet, "--run-dir")
    start_actor(fleet, made)
    until(lambda: len(list(fleet.run.checkpoints.glob("step-*.pt"))) >= 2, "checkpoints are written")
    newest = sorted(fleet.run.checkpoints.glob("step-*.pt"))[-1]
    filler = fill(disk)
    assert fleet.wait("learner") == 1, fleet.output("learner")
    errors = [line for line in fleet.output("learner").splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "journal.bin" in errors[0]
    assert "Traceback" not in fleet.output("learner")
    assert newest.exists() or len(list(fleet.run.checkpoints.glob("step-*.pt"))) == 2
    filler.unlink()
    start_learner(fleet, "--resume")  # the actor has kept what was not acknowledged, and waits
    statuses = fleet.statuses()
    start = statuses.until(lambda status: status.metrics.get("env_steps"), "it goes on")
    more = start.metrics["env_steps"] + 500
    statuses.until(lambda status: status.metrics["env_steps"] >= more, "more arrives")
    statuses.close()
    for name in ("a", "learner"):
        fleet.signal(name, signal.SIGTERM)
        assert fleet.wait(name) == 0, fleet.output(name)
    found = audit(fleet.run, CAPACITY, made)
    assert (found.twice, found.missing) == (0, {}), found


def only_error(output: str) -> str:
    """Return the one line that says why a process ended."""
    assert "Traceback" not in output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    return line


def test_a_disk_that_is_full_at_the_start_is_told_in_one_line(
    full_fleet: Fleet, disk: Path, tmp_path: Path
) -> None:
    fill(disk)
    start_learner(full_fleet, "--run-dir")
    assert full_fleet.wait("learner") in (1, 2)
    assert "No space left on device" in only_error(full_fleet.output("learner"))
    full_fleet.start("train", "graspfleet", "train", "--env", "Pendulum-v1", "--run-dir", str(disk / "other"))
    assert full_fleet.wait("train") in (1, 2)
    assert "No space left on device" in only_error(full_fleet.output("train"))


@pytest.mark.slow
@pytest.mark.parametrize("actors", [False, True])
def test_a_disk_that_is_full_at_the_stop_and_at_the_resume_costs_nothing_acknowledged(
    full_fleet: Fleet, disk: Path, tmp_path: Path, actors: bool
) -> None:
    fleet, made = full_fleet, tmp_path / "made"
    start_learner(fleet, "--run-dir")
    start_actor(fleet, made)
    until(lambda: len(list(fleet.run.checkpoints.glob("step-*.pt"))) >= 2, "checkpoints are written")
    if not actors:  # nothing arrives any more, so that it is the stop that meets the full disk
        fleet.signal("a", signal.SIGSTOP)
    filler = fill(disk)
    fleet.signal("learner", signal.SIGTERM)
    assert fleet.wait("learner") == 1, fleet.output("learner")
    only_error(fleet.output("learner"))
    fill(disk)
    start_learner(fleet, "--resume")
    assert fleet.wait("learner") in (1, 2), fleet.output("learner")
    only_error(fleet.output("learner"))
    for path in (filler, disk / "filler"):
        path.unlink(missing_ok=True)
    fleet.signal("a", signal.SIGCONT)
    start_learner(fleet, "--resume")
    statuses = fleet.statuses()
    start = statuses.until(lambda status: status.metrics.get("env_steps"), "it goes on")
    more = start.metrics["env_steps"] + 500
    statuses.until(lambda status: status.metrics["env_steps"] >= more, "more arrives")
    statuses.close()
    for name in ("a", "learner"):
        fleet.signal(name, signal.SIGTERM)
        assert fleet.wait(name) == 0, fleet.output(name)
    found = audit(fleet.run, CAPACITY, made)
    assert (found.twice, found.missing) == (0, {}), found


def test_a_replay_larger_than_the_disk_is_refused_at_the_start(
    full_fleet: Fleet, disk: Path, tmp_path: Path
) -> None:
    start_learner(full_fleet, "--run-dir", "--replay-capacity", "10000000")
    start_actor(full_fleet, tmp_path / "made")
    assert full_fleet.wait("learner") == 2
    assert "400,1" in full_fleet.output("learner")
    assert "No space left" in full_fleet.output("learner")


def test_a_read_only_run_directory_is_refused_in_one_line(full_fleet: Fleet, disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    start_learner(full_fleet, "--run-dir")
    assert full_fleet.wait("learner") == 2
    assert f"error: --run-dir {full_fleet.run.path}: Read-only file system" in full_fleet.output("learner")


def test_a_run_directory_in_use_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    fleet.endpoints = free_endpoints()
    start_learner(fleet, "--run-dir")
    until(fleet.run.endpoints.exists, "the first one listens")
    fleet.endpoints = free_endpoints()
    sizes = ("--run-dir", str(fleet.run.path))
    fleet.start("second", "graspfleet.learner", "--env", ENV, *fleet.addresses(), *sizes)
    assert fleet.wait("second") == 2
    assert "in use by another learner" in fleet.output("second")
