"""The run directory: where a run may start, who owns it, and files that are never half written."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.config import RunConfig
from common.errors import ConfigError
from common.run_directory import Endpoints, RunDirectory, claim_run, write_atomically
from tests.fakes import ONE_LINE


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    run = RunDirectory(tmp_path / "a" / "run")
    yield run
    run.unlock()


def test_a_new_directory_is_made_with_its_parents(run: RunDirectory) -> None:
    run.create(resume=False)
    assert run.logs.is_dir()


def test_an_empty_directory_may_be_used(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    run.create(resume=False)
    assert run.logs.is_dir()


def test_what_a_failed_start_left_behind_does_not_matter(run: RunDirectory) -> None:
    run.create(resume=False)
    run.lock()
    run.config.write_text("env: {}")
    run.write_endpoints(Endpoints("127.0.0.1", 1, 2, 3))
    (run.logs / "learner.log").write_text("error: no")
    run.unlock()
    run.create(resume=False)


@pytest.mark.parametrize("name", ["replay.bin", "metrics.jsonl", "checkpoints", "thesis.tex"])
def test_a_directory_with_anything_else_in_it_is_refused_and_left_alone(run: RunDirectory, name: str) -> None:
    run.path.mkdir(parents=True)
    (run.path / name).write_text("precious")
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        run.create(resume=False)
    assert f"--run-dir {run.path}: not empty" in str(caught.value)
    assert f"--resume {run.path}" in str(caught.value)
    assert (run.path / name).read_text() == "precious"
    assert [entry.name for entry in run.path.iterdir()] == [name]


def test_resume_needs_checkpoints(run: RunDirectory) -> None:
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        run.create(resume=True)
    assert f"--resume {run.path}" in str(caught.value)
    assert not run.path.exists()
    run.checkpoints.mkdir(parents=True)
    run.replay.write_bytes(b"rows")
    run.create(resume=True)
    assert run.replay.read_bytes() == b"rows"


@pytest.mark.parametrize("resume", [False, True])
def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "file").write_text("")  # below a regular file not even root can write
    run = RunDirectory(tmp_path / "file" / "run")
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        run.create(resume=resume)
    assert f"{'--resume' if resume else '--run-dir'} {run.path}" in str(caught.value)


def test_a_directory_belongs_to_one_process_at_a_time(run: RunDirectory) -> None:
    run.create(resume=False)
    code = (
        "import sys; from common.run_directory import RunDirectory as R; R(sys.argv[1]).lock(); print('mine')"
    )
    command = [sys.executable, "-c", code, str(run.path)]
    run.lock()
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "ConfigError" in refused.stderr
    assert f"--run-dir {run.path}: in use" in refused.stderr
    run.unlock()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "mine\n"


def test_a_claimed_run_is_locked_and_named_after_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = claim_run(RunConfig(), "package:Id-v0")
    assert run.path.parent == Path("runs")
    assert run.path.name.startswith("package-Id-v0-")
    with pytest.raises(ConfigError, match="in use"):
        claim_run(RunConfig(run_dir=str(run.path)), "Id-v0")
    run.unlock()
    claim_run(RunConfig(run_dir=str(run.path)), "Id-v0").unlock()
    with pytest.raises(ConfigError, match="--resume"):
        claim_run(RunConfig(resume=str(run.path)), "Id-v0")


def test_a_restarted_learner_clears_what_one_killed_before_its_first_checkpoint_left(
    run: RunDirectory,
) -> None:
    run.checkpoints.mkdir(parents=True)
    for path in (run.replay, run.journal, run.checkpoints / ".half-written", run.metrics):
        path.write_text("unacknowledged")
    config = RunConfig(run_dir=str(run.path), auto_resume=True)
    claim_run(config, "Id-v0").unlock()
    assert {path.name for path in run.path.iterdir()} == {"logs", "lock"}
    (run.path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="not empty"):
        claim_run(config, "Id-v0")


def test_a_restarted_learner_keeps_a_run_that_has_begun(run: RunDirectory) -> None:
    run.checkpoints.mkdir(parents=True)
    (run.checkpoints / "step-000000000000.pt").write_text("state")
    run.replay.write_text("rows")
    claim_run(RunConfig(resume=str(run.path), auto_resume=True), "Id-v0").unlock()
    assert run.replay.read_text() == "rows"


def test_endpoints_are_read_as_they_were_written(run: RunDirectory) -> None:
    run.create(resume=False)
    endpoints = Endpoints("0.0.0.0", 1, 2, 3)
    run.write_endpoints(endpoints)
    assert run.read_endpoints() == endpoints
    assert endpoints.local_host == "127.0.0.1"
    assert Endpoints("10.0.0.7", 1, 2, 3).local_host == "10.0.0.7"


@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", '{"host": "h"}', '{"host": "h", "more": 1}'])
def test_endpoints_that_are_none_are_answered_in_one_line(run: RunDirectory, text: str | None) -> None:
    run.create(resume=False)
    if text is not None:
        run.endpoints.write_text(text)
    with pytest.raises(ConfigError, match=ONE_LINE):
        run.read_endpoints()


def test_an_atomic_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    for data in (b"old", b"new", b""):
        write_atomically(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data
        assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomically(tmp_path / "file", b"old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
