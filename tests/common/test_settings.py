"""Settings become a run's own once they have proven themselves, and not before."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from graspfleet.common.errors import StorageError
from graspfleet.common.messages import Status
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.common.settings.files import dump_yaml, load_yaml
from graspfleet.common.settings.flags import LearnerFlags, TrainFlags, parse
from graspfleet.common.settings.record import begin_settings, change_settings
from graspfleet.learner.algorithm import all_settings
from graspfleet.pending_settings import PendingSettings


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    run = RunDirectory(tmp_path / "run")
    run.claim(resume=False)
    yield run
    run.release()


def train(*argv: str) -> TrainFlags:
    return parse(TrainFlags, argv, prog="train", algorithms=all_settings())


def begin(run: RunDirectory, *argv: str) -> bytes:
    run.checkpoints.mkdir()
    (run.checkpoints / "step-000000000000.pt").write_text("")
    begin_settings(run, train("--env", "Pendulum-v1", *argv))
    return run.config.read_bytes()


def heard(state: str, **metrics: float) -> Status:
    return Status(state=state, metrics=metrics, actors={})  # type: ignore[arg-type]


def test_a_new_run_has_its_settings_at_once_and_none_of_a_failed_start(run: RunDirectory) -> None:
    run.config.write_text("replay: {batch_size: 7}\nlaunch: {actors: 3}")
    PendingSettings(run, train("--env", "Pendulum-v1"))
    assert run.config.read_text() == dump_yaml(train("--env", "Pendulum-v1"))


def test_a_resumed_run_keeps_its_settings_until_transitions_and_an_evaluation_have_arrived(
    run: RunDirectory,
) -> None:
    before = begin(run, "--eval-env-args", "g=9")
    words = ("--resume", str(run.path), "--batch-size", "99", "--eval-env-args", "g=1", "--env-args", "g=2")
    pending = PendingSettings(run, train(*words))
    for status in (
        heard("waiting"),
        heard("running", inserted=500, eval_env_steps=400),
        heard("running", inserted=500, eval_env_steps=400),
        heard("running", inserted=500),
    ):
        pending.heard(status)
        assert run.config.read_bytes() == before
    pending.heard(heard("running", inserted=501, eval_env_steps=400))
    settings = load_yaml(run.config, "x")
    assert (settings["replay"]["batch_size"], settings["env"]["env_args"]) == (99, ["g=2"])
    assert settings["evaluator"]["eval_env_args"] == ["g=9"]
    pending.heard(heard("running", inserted=600, eval_env_steps=550))
    assert load_yaml(run.config, "x")["evaluator"]["eval_env_args"] == ["g=1"]


def test_an_evaluation_alone_proves_nothing(run: RunDirectory) -> None:
    before = begin(run)
    pending = PendingSettings(run, train("--resume", str(run.path), "--batch-size", "99"))
    pending.heard(heard("running", inserted=500))
    pending.heard(heard("running", inserted=500, eval_env_steps=400))
    assert run.config.read_bytes() == before


def test_a_learner_of_its_own_changes_its_own_sections_alone(run: RunDirectory) -> None:
    begin(run, "--actors", "3")
    flags = parse(
        LearnerFlags,
        ["--resume", str(run.path), "--batch-size", "99"],
        prog="learner",
        algorithms=all_settings(),
    )
    change_settings(run, flags)
    settings = load_yaml(run.config, "x")
    assert (settings["replay"]["batch_size"], settings["launch"]["actors"]) == (99, 3)


def test_settings_that_cannot_be_written_are_one_line(run: RunDirectory) -> None:
    run.config.mkdir()
    with pytest.raises(StorageError, match=r"\A[^\n]*config.yaml: [^\n]*\Z"):
        begin_settings(run, train())
