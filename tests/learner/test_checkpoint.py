"""Checkpoints: the newest and the best are kept, and damage costs no more than the damaged file."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from graspfleet.common.errors import ConfigError
from graspfleet.learner.storage.checkpoint import BEST, Checkpoints
from tests.fakes import ONE_LINE


def state(number: int) -> dict[str, Any]:
    return {
        "updates": number,
        "weights": torch.full((50,), float(number)),
        "nested": {"best": (0.5, 1.5), "none": None},
    }


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", num_kept=2, flags=["--algorithm sac"])


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "checkpoints").iterdir())


def test_the_newest_comes_back_as_it_was(checkpoints: Checkpoints) -> None:
    for number in (9, 10, 100):  # by number, not by name
        checkpoints.save(state(number), number)
    loaded = checkpoints.load_newest()
    assert (loaded["updates"], loaded["nested"]) == (100, {"best": (0.5, 1.5), "none": None})
    assert torch.equal(loaded["weights"], torch.full((50,), 100.0))


def test_the_newest_k_and_the_best_are_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    checkpoints.save(state(1), 1)
    checkpoints.save(state(1), 1, best=True)
    for number in (2, 3, 4):
        checkpoints.save(state(number), number)
    assert names(tmp_path) == [BEST, "step-000000000003.pt", "step-000000000004.pt"]
    assert torch.load(tmp_path / "checkpoints" / BEST, weights_only=True)["updates"] == 1
    assert checkpoints.load_newest()["updates"] == 4


DAMAGE = {
    "empty": lambda good: b"",
    "garbage": lambda good: b"garbage" * 100,
    "zeros": lambda good: bytes(len(good)),
    "truncated": lambda good: good[: len(good) // 2],
    "flipped": lambda good: good[:300] + bytes(byte ^ 255 for byte in good[300:400]) + good[400:],
    "cut-at-the-start": lambda good: good[10:],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_when_the_newest_is_damaged_the_one_before_is_taken(
    checkpoints: Checkpoints, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints.save(state(1), 1)
    newest = checkpoints.save(state(2), 2)
    assert newest is not None
    newest.write_bytes(DAMAGE[damage](newest.read_bytes()))
    assert checkpoints.load_newest()["updates"] == 1
    assert newest.name in caplog.text


def test_a_checkpoint_that_is_no_mapping_is_passed_over(checkpoints: Checkpoints) -> None:
    checkpoints.save(state(1), 1)
    newest = checkpoints.save(state(2), 2)
    assert newest is not None
    torch.save([1, 2], newest)
    assert checkpoints.load_newest()["updates"] == 1


class Trap:
    """An object whose unpickling would run code."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_a_checkpoint_never_runs_code(checkpoints: Checkpoints, tmp_path: Path) -> None:
    checkpoints.save(state(1), 1)
    newest = checkpoints.save(state(2), 2)
    assert newest is not None
    torch.save({"updates": Trap(tmp_path / "sprung")}, newest)
    assert checkpoints.load_newest()["updates"] == 1
    assert not (tmp_path / "sprung").exists()


def test_without_a_readable_one_the_answer_is_one_line(checkpoints: Checkpoints, tmp_path: Path) -> None:
    for damaged in (False, True):
        if damaged:
            path = checkpoints.save(state(1), 1)
            assert path is not None
            path.write_bytes(b"")
        with pytest.raises(ConfigError, match=ONE_LINE) as caught:
            checkpoints.load_newest()
        assert str(tmp_path / "checkpoints") in str(caught.value)


def test_a_failed_write_keeps_what_was_there_and_training_goes_on(
    checkpoints: Checkpoints,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in (1, 2):
        checkpoints.save(state(number), number)
    before = names(tmp_path)

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        assert checkpoints.save(state(3), 3) is None
        assert checkpoints.save(state(2), 2) is None
    assert "No space left" in caplog.text
    assert names(tmp_path) == before
    assert checkpoints.load_newest()["updates"] == 2
    assert checkpoints.save(state(3), 3) is not None


def test_a_folder_that_cannot_be_made_is_only_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert Checkpoints(tmp_path / "file" / "checkpoints", 1, ["--algorithm sac"]).save(state(1), 1) is None
    assert "no checkpoint written" in caplog.text


def test_those_of_more_env_steps_than_the_newest_go(checkpoints: Checkpoints, tmp_path: Path) -> None:
    """After a power cut that cost rows, the ones before it would pass for the newest for ever."""
    for number in (100, 200):
        checkpoints.save(state(number), number)
    checkpoints.save(state(150), 150)
    assert names(tmp_path) == ["step-000000000100.pt", "step-000000000150.pt"]
    assert checkpoints.load_newest()["updates"] == 150


@pytest.mark.parametrize("flags", [["--algorithm crossq"], ["--algorithm sac", "--normalize-obs"], 3, None])
def test_a_state_saved_with_other_flags_is_refused_in_one_line(tmp_path: Path, flags: Any) -> None:
    others = Checkpoints(tmp_path / "checkpoints", num_kept=2, flags=[])
    others._flags = flags
    assert others.save(state(1), 1) is not None
    with pytest.raises(ConfigError, match=r"\A--algorithm sac: the run uses [^\n]+; allowed: the same\Z"):
        Checkpoints(tmp_path / "checkpoints", 2, ["--algorithm sac"]).load_newest()
