"""Finalists on the disk: one file says which there are, and a crash between any two writes is put right."""

import json
from pathlib import Path

import numpy as np
import pytest

import graspfleet.common.evaluation.policy_files as policy_files
from graspfleet.common.evaluation.candidates import Candidate, Key, Selected
from graspfleet.common.evaluation.policy_files import (
    candidate_path,
    commit,
    read_finalists,
    read_selected,
    read_weights,
)
from graspfleet.common.messages import Weights
from graspfleet.common.protocol import encode
from graspfleet.common.runtime.run_directory import RunDirectory
from tests.fakes import SPEC


def frame_of(key: Key) -> bytes:
    policy = {"w0": np.full((2, 2), key.version, np.float32)}
    return encode(Weights(version=key.version, env_steps=key.env_steps, updates=1, spec=SPEC, policy=policy))


def candidate(version: int, *returns: float) -> Candidate:
    whole = tuple((value, 20, None, seed) for seed, value in enumerate(returns))
    return Candidate(version=version, env_steps=100 * version).with_report(whole, 0)


def selected_of(*candidates: Candidate) -> tuple[Selected, dict[Key, bytes]]:
    selected = Selected()
    for each in candidates:
        selected = selected.with_candidate(each)
    return selected, {each.key: frame_of(each.key) for each in selected.finalists}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def test_what_is_written_is_read_back_and_the_rest_swept(run: RunDirectory) -> None:
    selected, frames = selected_of(candidate(1, 5.0, 5.0), candidate(2, 4.0, 4.0))
    commit(run, selected, frames)
    left = run.candidates / ".step-1.gfp.4711"
    left.write_bytes(b"half")
    selected, frames = selected_of(*(candidate(version, version, version) for version in (6, 7, 8)))
    commit(run, selected, frames)
    assert read_finalists(run, read_selected(run)) == (selected, frames)
    assert len(list(run.candidates.iterdir())) == 3
    assert read_weights(run.policy("best"))[0].version == 8


def test_nothing_is_known_where_nothing_is_written(run: RunDirectory) -> None:
    assert read_finalists(run, read_selected(run)) == (Selected(), {})


@pytest.mark.parametrize("failing", range(4))
def test_whichever_write_is_the_last_the_best_is_one_that_was_evaluated(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    """One new finalist takes three writes: its frame, selection.json, policy-best.gfp."""
    commit(run, *selected_of(candidate(1, 5.0, 5.0)))
    new, frames = selected_of(candidate(1, 5.0, 5.0), candidate(2, 6.0, 6.0))
    write, done = policy_files.write_atomically, []

    def write_or_die(path: Path, data: bytes) -> None:
        if len(done) == failing:
            raise KeyboardInterrupt
        done.append(path)
        write(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(policy_files, "write_atomically", write_or_die)
        if failing < 3:
            with pytest.raises(KeyboardInterrupt):
                commit(run, new, frames)
        else:
            commit(run, new, frames)
    selected, kept = read_finalists(run, read_selected(run))
    assert selected.best == (Key(1, 100) if failing < 2 else Key(2, 200))
    commit(run, selected, kept)
    assert read_weights(run.policy("best"))[1] == frame_of(Key(*selected.best))
    assert {path.name for path in run.candidates.iterdir()} == {
        candidate_path(run, each.key).name for each in selected.finalists
    }


DAMAGE = ["", "{", "[]", '{"finalists": 3}', '{"best": [1]}', '{"finalists": [], "best": null, "more": 1}']


@pytest.mark.parametrize("content", DAMAGE)
def test_a_damaged_record_is_said_and_closed(
    run: RunDirectory, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    run.selection.write_text(content)
    assert read_selected(run) == Selected()
    assert "damaged" in caplog.text


def test_a_finalist_without_its_frame_is_left_out(
    run: RunDirectory, caplog: pytest.LogCaptureFixture
) -> None:
    selected, frames = selected_of(candidate(1, 5.0, 5.0), candidate(2, 6.0, 6.0), candidate(3, 4.0, 4.0))
    commit(run, selected, frames)
    candidate_path(run, Key(1, 100)).unlink()
    candidate_path(run, Key(2, 200)).write_bytes(b"damaged")  # the best: its frame is in policy-best.gfp too
    found, kept = read_finalists(run, read_selected(run))
    assert [each.version for each in found.finalists] == [2, 3]
    assert kept == {key: frames[key] for key in (Key(2, 200), Key(3, 300))}
    assert "step-000000000100" in caplog.text


def test_the_record_is_plain_to_read(run: RunDirectory) -> None:
    commit(run, *selected_of(candidate(1, 5.0, 5.0)))
    record = json.loads(run.selection.read_text())
    assert record["best"] == [1, 100]
    assert record["finalists"][0]["episodes"] == [[5.0, 20, None, 0], [5.0, 20, None, 1]]
