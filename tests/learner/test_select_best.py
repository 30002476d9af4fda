"""Evaluations that are late, long, broken or sent again, and a learner that is killed between them."""

from pathlib import Path

import numpy as np
import pytest

from graspfleet.common.evaluation.candidates import Key
from graspfleet.common.evaluation.policy_files import read_selected, read_weights
from graspfleet.common.fields import Episode
from graspfleet.common.messages import Evaluation, EvaluationStarted, Weights
from graspfleet.common.protocol import encode
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.learner.publishing.published_frames import (
    KEPT_BYTES,
    KEPT_VERSIONS,
    MAX_PINS,
    PublishedFrames,
)
from graspfleet.learner.publishing.select_best import Selection
from tests.fakes import SESSION, SPEC


def frame_of(version: int) -> bytes:
    policy = {"w0": np.full((2, 2), version, np.float32)}
    return encode(Weights(version=version, env_steps=100 * version, updates=1, spec=SPEC, policy=policy))


def evaluation(version: int, *returns: float, broken: int = 0, first_seed: int = 0) -> Evaluation:
    whole: tuple[Episode, ...] = tuple((value, 20, None, first_seed + i) for i, value in enumerate(returns))
    return Evaluation(
        actor_id="e",
        session_id=SESSION,
        weights_version=version,
        env_steps=100 * version,
        episodes=whole,
        broken=broken,
    )


def started(version: int, actor_id: str = "e") -> EvaluationStarted:
    return EvaluationStarted(
        actor_id=actor_id, session_id=SESSION, weights_version=version, env_steps=100 * version
    )


class Desk:
    """A selection and the frames that it chooses from."""

    def __init__(self, folder: Path, *versions: int) -> None:
        self.run = RunDirectory(folder)
        self.frames = PublishedFrames()
        self.selection = Selection(self.frames, self.run)
        self.publish(*versions)

    def publish(self, *versions: int) -> None:
        for version in versions:
            self.frames.add(Key(version, 100 * version), frame_of(version))

    def best(self) -> tuple[int | None, int]:
        """Return the version that is said to be the best, and that in policy-best.gfp."""
        best = read_selected(self.run).best
        return None if best is None else best[0], read_weights(self.run.policy("best"))[0].version


def test_the_best_by_evaluation_is_written(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 1, 2, 3)
    taken = [
        desk.selection.take(evaluation(version, value, value)) for version, value in ((1, 5.0), (2, 7.0))
    ]
    assert [each[1] for each in taken if each is not None] == [True, True]
    worse = desk.selection.take(evaluation(3, 6.0, 6.0))
    assert worse is not None
    assert worse == (
        {"eval_env_steps": 300, "eval_broken_episodes": 0, "eval_return": 6.0, "eval_return_std": 0.0},
        False,
    )
    assert desk.best() == (2, 2)
    assert desk.selection.counters["evaluations"] == 3


def test_an_evaluation_that_outlasts_every_kept_version_counts(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 1)
    assert desk.selection.take(started(1)) is None
    desk.publish(*range(2, KEPT_VERSIONS + 3))
    assert desk.selection.take(evaluation(1, 5.0, 5.0)) is not None
    assert desk.best() == (1, 1)
    assert desk.selection.counters == {"evaluations": 1}


def test_one_that_cannot_count_is_said_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path, *range(1, KEPT_VERSIONS + 3))
    desk.selection.take(started(1))  # too late for that, too
    for seed in (0, 10):
        judged = desk.selection.take(evaluation(1, 5.0, first_seed=seed))
        assert judged is not None
        assert judged[0]["eval_return"] == 5.0  # it still tells how that policy did
        assert not judged[1]
    assert caplog.text.count("weights version 1, env step 100 is ignored") == 1
    assert desk.selection.counters == {"uncounted_evaluations": 2}
    assert not desk.run.selection.exists()


def test_a_version_given_again_after_a_crash_is_another_policy(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 1)
    other = evaluation(1, 9.0, 9.0).model_copy(update={"env_steps": 555})
    desk.selection.take(other)
    assert desk.selection.counters == {"uncounted_evaluations": 1}


def test_a_repeated_evaluation_counts_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 1, 2)
    for _ in range(3):
        desk.selection.take(evaluation(1, 5.0, 9.0))
    assert desk.selection.counters == {"evaluations": 1, "repeated_evaluations": 2}
    again = Desk(tmp_path, 1)
    again.selection.recover()
    assert again.selection.take(evaluation(1, 5.0, 9.0)) is None


def test_several_evaluations_of_one_policy_add_up(tmp_path: Path) -> None:
    desk = Desk(tmp_path, *range(1, 7))
    for version in range(2, 6):
        desk.selection.take(evaluation(version, 10.0 + version, 10.0 + version))
    desk.selection.take(evaluation(1, 9.0, 8.0))  # no finalist, and remembered all the same
    desk.selection.take(evaluation(1, *[99.0] * 60, first_seed=100))
    (first, *_) = desk.selection.selected.finalists
    assert (first.version, len(first.episodes)) == (1, 62)
    assert desk.best() == (1, 1)


def test_breaking_episodes_do_not_make_a_policy_the_best(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 1, 2, 3)
    desk.selection.take(evaluation(1, *[-20.0] * 20))
    desk.selection.take(evaluation(2, *[-8.0] * 10, broken=10))
    judged = desk.selection.take(evaluation(3, broken=20))
    assert judged == ({"eval_env_steps": 300, "eval_broken_episodes": 20}, False)
    assert desk.best() == (1, 1)


def test_a_killed_learner_remembers_the_best(tmp_path: Path) -> None:
    Desk(tmp_path, 1).selection.take(evaluation(1, -100.0, -100.0))
    desk = Desk(tmp_path, 2, 3)
    desk.selection.recover()
    desk.selection.take(evaluation(2, -500.0, -500.0))
    assert desk.best() == (1, 1)
    desk.selection.take(evaluation(3, -50.0, -50.0))
    assert desk.best() == (3, 3)


def test_recovery_completes_what_a_kill_left_half_done(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 1, 2)
    desk.selection.take(evaluation(1, 5.0, 5.0))
    older = desk.run.policy("best").read_bytes()
    desk.selection.take(evaluation(2, 6.0, 6.0))
    desk.run.policy("best").write_bytes(older)  # killed between selection.json and it
    (desk.run.candidates / ".half.gfp.1").write_bytes(b"half")
    Desk(tmp_path).selection.recover()
    assert desk.best() == (2, 2)
    assert len(list(desk.run.candidates.iterdir())) == 2
    desk.run.selection.unlink()  # killed before the first selection.json
    Desk(tmp_path).selection.recover()
    assert not list(desk.run.candidates.iterdir())


def test_a_disk_that_refuses_is_said_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path, 1)
    desk.run.candidates.write_text("in the way")
    judged = desk.selection.take(evaluation(1, 5.0, 5.0))
    assert judged is not None
    assert judged[1]
    assert "finalists not written" in caplog.text
    desk.run.candidates.unlink()
    desk.selection.write()
    assert desk.best() == (1, 1)


def test_counters_go_on_after_a_resume(tmp_path: Path) -> None:
    desk = Desk(tmp_path, 1)
    desk.selection.take(evaluation(1, 5.0))
    other = Desk(tmp_path)
    other.selection.load_state_dict(desk.selection.state_dict())  # type: ignore[arg-type]
    assert other.selection.counters == {"evaluations": 1}


def test_kept_frames_and_pins_are_bounded() -> None:
    frames = PublishedFrames()
    large = bytes(KEPT_BYTES // 4)
    for version in range(10):
        frames.add(Key(version, 0), large)
        frames.add(Key(version, 0), large)
    assert len(frames) == 4
    frames.add(Key(10, 0), bytes(2 * KEPT_BYTES))
    assert len(frames) == 1
    for version in range(100, 100 + 3 * MAX_PINS):
        frames.add(Key(version, 0), b"frame")
        frames.pin((f"e-{version}", SESSION), Key(version, 0))
    for version in range(1000, 1001 + KEPT_VERSIONS):
        frames.add(Key(version, 0), b"frame")
    assert len(frames) == KEPT_VERSIONS + MAX_PINS
    assert frames.get(Key(99 + 3 * MAX_PINS, 0)) == b"frame"
    frames.pin(
        (f"e-{99 + 3 * MAX_PINS}", SESSION), Key(1000, 0)
    )  # the same evaluator goes on to another policy
    assert frames.get(Key(99 + 3 * MAX_PINS, 0)) is None
