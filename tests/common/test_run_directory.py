"""The run directory: where a run may start, who owns it, and what interrupted starts leave."""

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.claim import claim_run
from graspfleet.common.runtime.run_directory import Endpoints, RunDirectory
from graspfleet.common.runtime.run_lock import LOCK_VARIABLE
from graspfleet.common.settings.processes import RunConfig
from tests.fakes import ONE_LINE

CLAIM = (
    "import sys; from graspfleet.common.runtime.run_directory import RunDirectory as R; r = R(sys.argv[1]);"
)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    run = RunDirectory(tmp_path / "a" / "run")
    yield run
    run.release()


def begin(run: RunDirectory) -> None:
    """Leave what a run leaves that has begun."""
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    (run.checkpoints / "step-000000000000.pt").write_text("state")
    run.replay.write_bytes(b"rows")
    run.config.write_text("env: {}")


def files_of(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_new_directory_is_made_with_its_parents(run: RunDirectory) -> None:
    run.claim(resume=False)
    assert run.logs.is_dir()


def test_an_empty_directory_may_be_used(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    run.claim(resume=False)
    assert run.logs.is_dir()


def test_what_a_failed_start_left_behind_does_not_matter(run: RunDirectory) -> None:
    run.claim(resume=False)
    run.config.write_text("env: {}")
    run.write_endpoints(Endpoints("127.0.0.1", 1, 2, 3))
    (run.logs / "learner.log").write_text("error: no")
    (run.path / ".config.yaml.4711").write_text("half")
    run.release()
    run.claim(resume=False)
    assert not (run.path / ".config.yaml.4711").exists()


@pytest.mark.parametrize("name", ["replay.bin", "metrics.jsonl", "checkpoints", "thesis.tex", ".notes.2024"])
@pytest.mark.parametrize("unbegun", [False, True])
def test_a_directory_with_anything_else_in_it_is_refused_and_left_alone(
    run: RunDirectory, name: str, unbegun: bool
) -> None:
    run.path.mkdir(parents=True)
    (run.path / name).write_text("precious")
    if unbegun:  # as with --auto-resume: one file more than a killed start leaves is one too many
        (run.path / "thesis.tex").write_text("precious")
    before = files_of(run.path)
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        run.claim(resume=False, unbegun=unbegun)
    assert f"--run-dir {run.path}: not empty" in str(caught.value)
    assert files_of(run.path) == before


def test_the_line_says_how_to_go_on_with_what_is_there(run: RunDirectory) -> None:
    run.path.mkdir(parents=True)
    run.replay.write_text("never acknowledged")
    with pytest.raises(ConfigError, match=f"--run-dir {run.path} --auto-resume to start it over"):
        run.claim(resume=False)
    begin(run)
    with pytest.raises(ConfigError, match=f"--resume {run.path} to continue it"):
        run.claim(resume=False)


def test_resume_needs_a_checkpoint(run: RunDirectory) -> None:
    for made in (False, True):
        with pytest.raises(ConfigError, match=ONE_LINE) as caught:
            run.claim(resume=True)
        assert f"--resume {run.path}" in str(caught.value)
        assert run.path.exists() == made
        run.checkpoints.mkdir(parents=True, exist_ok=True)
    begin(run)
    run.claim(resume=True)
    assert run.replay.read_bytes() == b"rows"


@pytest.mark.parametrize("resume", [False, True])
def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path, resume: bool) -> None:
    (tmp_path / "file").write_text("")  # below a regular file not even root can write
    run = RunDirectory(tmp_path / "file" / "run")
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        run.claim(resume=resume)
    assert f"{'--resume' if resume else '--run-dir'} {run.path}" in str(caught.value)


@pytest.mark.parametrize("name", ["logs", "lock"])
def test_a_file_in_the_place_of_a_folder_and_the_other_way_round_are_one_line(
    run: RunDirectory, name: str
) -> None:
    run.path.mkdir(parents=True)
    if name == "logs":
        run.logs.write_text("")
    else:
        (run.path / "lock").mkdir()
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        run.claim(resume=False)
    assert str(run.path / name) in str(caught.value)


def test_a_directory_belongs_to_one_process_at_a_time(run: RunDirectory) -> None:
    command = [sys.executable, "-c", f"{CLAIM} r.claim(resume=False); print('mine')", str(run.path)]
    run.claim(resume=False)
    for _ in range(2):
        before = files_of(run.path)
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        assert refused.returncode != 0
        assert f"ConfigError: --run-dir {run.path}: in use" in refused.stderr
        assert files_of(run.path) == before
        begin(run)  # in use comes before not empty
    run.release()
    for path in (*run.checkpoints.iterdir(), run.replay):
        path.unlink()
    run.checkpoints.rmdir()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "mine\n"


def test_a_run_that_somebody_goes_on_with_is_in_use(run: RunDirectory) -> None:
    begin(run)
    run.claim(resume=True)
    other = RunDirectory(run.path)
    with pytest.raises(ConfigError, match=f"--resume {run.path}: in use by another learner"):
        other.claim(resume=True)


def test_a_claim_is_shared_with_a_child_and_nobody_slips_in_between(run: RunDirectory) -> None:
    run.claim(resume=False)
    code = f"{CLAIM} r.claim(resume=False); print(r.is_lent, flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[run.lock],
        env={**os.environ, LOCK_VARIABLE: str(run.lock)},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "True\n"
        run.release()  # as when the launcher is killed: the learner that is still leaving keeps the claim
        with pytest.raises(ConfigError, match="in use"):
            run.claim(resume=False)
    finally:
        child.stdin.close()
        child.wait(10)
        child.stdout.close()
    run.claim(resume=False)
    assert not run.is_lent


@pytest.mark.parametrize("word", ["x", "", "-1", "999999", "9" * 30, "²", "0"])
def test_a_lock_that_is_none_of_this_directory_is_not_believed(
    run: RunDirectory, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LOCK_VARIABLE, word)
    run.claim(resume=False)
    assert not run.is_lent
    assert LOCK_VARIABLE not in os.environ


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_called_so(
    run: RunDirectory, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        run.claim(resume=False)
    assert "this file system does not support locks" in str(caught.value)
    assert "in use" not in str(caught.value)


def test_a_claimed_run_is_locked_and_named_after_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = claim_run(RunConfig(), "package:Id-v0")
    assert run.path.parent == Path("runs")
    assert run.path.name.startswith("package-Id-v0-")
    with pytest.raises(ConfigError, match="in use"):
        claim_run(RunConfig(run_dir=str(run.path)), "Id-v0")
    run.release()
    claim_run(RunConfig(run_dir=str(run.path)), "Id-v0").release()
    with pytest.raises(ConfigError, match="--resume"):
        claim_run(RunConfig(resume=str(run.path)), "Id-v0")


@pytest.mark.parametrize("env", ["Id-v0", "ALE/Pong-v5", "../up:Id-v0", "/a/file.py:Id-v0", "ä" * 300, ".."])
def test_runs_of_the_same_second_have_names_of_their_own(
    env: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [claim_run(RunConfig(), env) for _ in range(5)]
    assert len({run.path for run in runs}) == 5
    assert {run.path.parent for run in runs} == {Path("runs")}
    for run in runs:
        run.release()


def test_a_file_called_runs_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("")
    with pytest.raises(ConfigError, match="runs is a file"):
        claim_run(RunConfig(), "Id-v0")


def test_a_restarted_learner_clears_what_one_killed_before_its_first_checkpoint_left(
    run: RunDirectory, tmp_path: Path
) -> None:
    run.checkpoints.mkdir(parents=True)
    half = (run.checkpoints / ".step-000000000000.pt.17", run.path / ".journal.bin.17")
    for path in (run.replay, run.journal, run.metrics, *half):
        path.write_text("unacknowledged")
    (tmp_path / "elsewhere").mkdir()
    run.tensorboard.symlink_to(tmp_path / "elsewhere")
    config = RunConfig(run_dir=str(run.path), auto_resume=True)
    claim_run(config, "Id-v0").release()
    assert {path.name for path in run.path.iterdir()} == {"logs", "lock"}
    assert (tmp_path / "elsewhere").is_dir()
    (run.path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match="not empty"):
        claim_run(config, "Id-v0")


def test_a_restarted_learner_keeps_a_run_that_has_begun_and_sweeps_what_was_half_written(
    run: RunDirectory,
) -> None:
    begin(run)
    run.logs.mkdir()
    swept = [run.checkpoints / ".best.pt.7", run.path / ".policy-best.gfp.7", run.logs / ".settings.yaml.7"]
    kept = [run.path / ".notes.2024", run.checkpoints / "step-000000000001.pt"]
    for path in (*swept, *kept):
        path.write_text("")
    claim_run(RunConfig(resume=str(run.path), auto_resume=True), "Id-v0").release()
    assert run.replay.read_bytes() == b"rows"
    assert [path.exists() for path in (*swept, *kept)] == [False, False, False, True, True]


def test_endpoints_are_read_as_they_were_written(run: RunDirectory) -> None:
    run.claim(resume=False)
    endpoints = Endpoints("0.0.0.0", 1, 2, 3)
    run.write_endpoints(endpoints)
    assert run.read_endpoints() == endpoints
    assert endpoints.local_host == "127.0.0.1"
    assert Endpoints("10.0.0.7", 1, 2, 3).local_host == "10.0.0.7"


@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", '{"host": "h"}', '{"host": "h", "more": 1}'])
def test_endpoints_that_are_none_are_answered_in_one_line(run: RunDirectory, text: str | None) -> None:
    run.claim(resume=False)
    if text is not None:
        run.endpoints.write_text(text)
    with pytest.raises(ConfigError, match=ONE_LINE):
        run.read_endpoints()


def test_a_start_in_which_nothing_began_takes_back_what_it_made(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "new" / "run")
    run.claim(resume=False)
    (run.logs / "learner.log").write_text("it did not work")
    run.discard()
    assert list(tmp_path.iterdir()) == []
    run.claim(resume=False)  # and the place is free again


def test_a_start_takes_back_nothing_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "runs").mkdir()
    run = RunDirectory(tmp_path / "run")
    run.claim(resume=False)
    run.journal.write_bytes(b"of a learner that nobody heard of")
    run.discard()
    assert run.path.is_dir()
    run.claim(resume=False)  # without --auto-resume
    unclaimed = RunDirectory(tmp_path / "runs", made=[tmp_path / "runs"])
    unclaimed.discard()
    assert unclaimed.path.is_dir()


def test_a_run_that_has_begun_is_never_taken_back(run: RunDirectory) -> None:
    run.claim(resume=False)
    begin(run)
    before = files_of(run.path)
    run.discard()
    assert files_of(run.path) == before


def test_a_lent_run_is_taken_back_by_its_launcher_alone(run: RunDirectory) -> None:
    run.claim(resume=False)
    command = [sys.executable, "-c", f"{CLAIM} r.claim(resume=False); r.discard()", str(run.path)]
    environment = {**os.environ, LOCK_VARIABLE: str(run.lock)}
    subprocess.run(command, pass_fds=[run.lock], env=environment, check=True)
    assert run.logs.is_dir()


def test_a_run_that_is_named_for_its_user_leaves_no_folder_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = claim_run(RunConfig(), "Fake-v0")
    second = claim_run(RunConfig(), "Fake-v0")
    first.discard()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [second.path.name]
    second.discard()
    third = claim_run(RunConfig(), "Fake-v0")
    (tmp_path / "runs" / "notes.txt").write_text("somebody's")
    third.discard()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["logs/learner.log", "metrics.jsonl", "replay.bin", "journal.bin"])
@pytest.mark.parametrize("kind", ["link", "dangling", "folder"])
def test_a_file_of_the_run_that_leads_elsewhere_is_named(
    run: RunDirectory, tmp_path: Path, name: str, kind: str
) -> None:
    run.logs.mkdir(parents=True)
    begin(run)
    path, target = run.path / name, tmp_path / "precious"
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(target)
    if kind == "link":
        target.write_text("precious")
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        run.claim(resume=True)
    fault = "not a regular file" if kind == "folder" else "a symbolic link, which is not followed"
    assert f"--resume {run.path}: {path}: {fault}" in str(caught.value)
    assert not target.exists() or target.read_text() == "precious"


@pytest.mark.parametrize("name", ["", "logs", "checkpoints"])
def test_a_run_whose_folders_cannot_be_written_is_not_gone_on_with(
    run: RunDirectory, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.logs.mkdir(parents=True)
    begin(run)
    before, folder = files_of(run.path), run.path / name
    # As a disk that has been mounted read-only; no mode of a file keeps root out.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        run.claim(resume=True)
    assert str(caught.value).startswith(f"--resume {run.path}: {folder}: cannot be written")
    assert {**before, "lock": b""} == {**files_of(run.path), "lock": b""}
