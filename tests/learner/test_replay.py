"""The ring on disk: wrap-around, reopening, uniform sampling of what is there, and fixed mixtures."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graspfleet.common.errors import ConfigError
from graspfleet.common.fields import MAX_ROWS
from graspfleet.common.specs import Records
from graspfleet.learner.experience.demonstrations.loader import Demos
from graspfleet.learner.experience.replay import Mixture, Replay
from tests.fakes import ONE_LINE, SPEC, make_records


def make_replay(path: Path, capacity: int = 10) -> Replay:
    return Replay(path, SPEC, capacity, np.random.default_rng(0))


RING_ROWS = 10 + MAX_ROWS
"""Rows in the file of a replay of 10."""


def rewards(batch: Records) -> set[float]:
    return set(batch["reward"].tolist())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(sizes=st.lists(st.integers(0, MAX_ROWS), max_size=6))
def test_the_ring_keeps_the_newest_across_its_end(tmp_path: Path, sizes: list[int]) -> None:
    path = tmp_path / "ring.bin"
    path.unlink(missing_ok=True)
    replay = make_replay(path)
    for size in sizes:
        replay.insert(make_records(size, start=replay.env_steps))
    inserted = sum(sizes)
    assert (replay.env_steps, len(replay)) == (inserted, min(10, inserted))
    kept = min(inserted, RING_ROWS)
    assert replay.read(inserted - kept, kept)["reward"].tolist() == list(range(inserted - kept, inserted))


def test_a_batch_that_was_interrupted_lies_where_nothing_is_sampled(tmp_path: Path) -> None:
    replay = make_replay(tmp_path / "r")
    while replay.env_steps < RING_ROWS:  # from here on each batch overwrites older rows
        replay.insert(make_records(13, start=replay.env_steps))
    before = rewards(replay.sample(1000))
    inserted = replay.env_steps
    replay.insert(make_records(MAX_ROWS, start=1_000_000))
    replay.restore(inserted)  # killed before the journal's entry
    assert rewards(replay.sample(1000)) == before == set(map(float, range(inserted - 10, inserted)))


def test_rows_come_out_as_they_went_in(tmp_path: Path) -> None:
    replay = make_replay(tmp_path / "r")
    record = make_records(1)
    record["obs"], record["next_obs"], record["action"] = [1, 2, 3], [4, 5, 6], [-1, 1]
    record["terminated"] = True
    replay.insert(record)
    batch = replay.sample(4)
    assert batch.dtype == SPEC.record
    assert (batch == record[0]).all()


def test_only_filled_rows_are_sampled(tmp_path: Path) -> None:
    replay = make_replay(tmp_path / "r")
    replay.insert(make_records(3, start=1))
    assert rewards(replay.sample(1000)) == {1.0, 2.0, 3.0}
    replay.insert(make_records(9, start=4))
    assert rewards(replay.sample(1000)) == set(map(float, range(3, 13)))


def test_sampling_is_uniform(tmp_path: Path) -> None:
    replay = make_replay(tmp_path / "r")
    replay.insert(make_records(10))
    counts = np.bincount(replay.sample(100_000)["reward"].astype(int), minlength=10)
    chi_square = ((counts - 10_000) ** 2 / 10_000).sum()
    assert chi_square < 27.9  # 99.9 % quantile for 9 degrees of freedom; the seed is fixed


@pytest.mark.parametrize("fraction", [0.0, 0.25, 1.0])
def test_k_batches_at_once_are_those_of_k_calls(tmp_path: Path, fraction: float) -> None:
    samplers = []
    for name in ("a", "b"):
        online = make_replay(tmp_path / name)
        online.insert(make_records(10))
        demos = Demos(make_records(5, start=1000), np.random.default_rng(0))
        samplers.append((online, Mixture(online, demos, fraction)))
    for at_once, one_by_one in zip(*samplers, strict=True):
        batches = at_once.sample(6, 8)
        assert (batches.shape, batches.dtype) == ((6, 8), SPEC.record)
        assert batches.flags.c_contiguous
        for batch in batches:
            assert batch["reward"].tolist() == one_by_one.sample(8)["reward"].tolist()


def test_it_goes_on_after_reopening_with_the_same_random_numbers(tmp_path: Path) -> None:
    replay = make_replay(tmp_path / "r")
    replay.insert(make_records(7))
    replay.sample(5)
    state = replay.state_dict()
    wanted = replay.sample(50)["reward"].tolist()
    again = Replay(tmp_path / "r", SPEC, 10, np.random.default_rng(99))
    again.restore(replay.env_steps)  # as the journal says
    again.load_state_dict(state)
    assert again.sample(50)["reward"].tolist() == wanted
    again.insert(make_records(4, start=7))
    assert again.read(0, 11)["reward"].tolist() == list(range(11))


@pytest.mark.parametrize("capacity", [9, 11])
def test_a_file_of_another_capacity_is_refused_untouched(tmp_path: Path, capacity: int) -> None:
    make_replay(tmp_path / "r").insert(make_records(10))
    before = (tmp_path / "r").read_bytes()
    with pytest.raises(ConfigError, match=ONE_LINE) as caught:
        make_replay(tmp_path / "r", capacity)
    assert "--replay-capacity" in str(caught.value)
    assert (tmp_path / "r").read_bytes() == before


def test_a_place_without_room_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=ONE_LINE):
        make_replay(tmp_path / "file" / "r")
    with pytest.raises(ConfigError, match=ONE_LINE):
        make_replay(tmp_path / "r", capacity=1 << 52)


@pytest.mark.parametrize(
    ("fraction", "batch_size", "from_demos"),
    [
        (0.5, 256, 128),
        (0.25, 8, 2),
        (0.0, 8, 0),
        (1.0, 8, 8),
        (0.1, 4, 0),
        (0.9, 4, 4),
        (0.5, 1, 0),
        (0.3, 7, 2),
    ],
)
def test_a_mixture_holds_its_share_in_every_batch(
    tmp_path: Path, fraction: float, batch_size: int, from_demos: int
) -> None:
    online = make_replay(tmp_path / "r")
    online.insert(make_records(10))
    demos = Demos(make_records(5, start=1000), np.random.default_rng(0))
    mixture = Mixture(online, demos, fraction)
    for _ in range(3):
        batch = mixture.sample(batch_size)
        assert (batch.shape, batch.dtype) == ((batch_size,), SPEC.record)
        assert (batch["reward"] >= 1000).tolist() == [False] * (batch_size - from_demos) + [True] * from_demos


def test_a_system_without_posix_fallocate_takes_the_space_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("os.posix_fallocate")
    replay = make_replay(tmp_path / "replay.bin")
    replay.insert(make_records(3))
    size = RING_ROWS * SPEC.record.itemsize
    found = (tmp_path / "replay.bin").stat()
    assert (found.st_size, found.st_blocks * 512 >= size) == (size, True)
    assert make_replay(tmp_path / "replay.bin").read(0, 3).tobytes() == make_records(3).tobytes()


def test_a_full_disk_is_told_there_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.delattr("os.posix_fallocate")
    monkeypatch.setattr("os.pwrite", refuse)
    with pytest.raises(ConfigError, match="No space left on device"):
        make_replay(tmp_path / "replay.bin")
