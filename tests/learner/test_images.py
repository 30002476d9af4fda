"""Frames in the learner: stored once, found by every transition, and never mixed up."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graspfleet.common.errors import ConfigError
from graspfleet.common.fields import MAX_HER_GOALS, MAX_ROWS
from graspfleet.common.protocol import decode, encode
from graspfleet.common.specs import MAX_FRAME_REFERENCE, EnvSpec, Records
from graspfleet.common.transition import Transition
from graspfleet.learner.access.footprint import replay_bytes, transitions_of
from graspfleet.learner.experience.ingest import Ingest
from graspfleet.learner.experience.replay import Replay
from tests.fakes import (
    IMAGE_SPEC,
    ONE_LINE,
    SPEC,
    make_batch,
    make_ingest,
    make_writer,
    numbers_of,
    observe,
    recover_ingest,
)

CAPACITY = 50


class Fleet:
    """Actors of one learner; their transitions carry consecutive numbers.

    Args:
        folder: of the learner.
        spec: of the transitions.
    """

    def __init__(self, folder: Path, spec: EnvSpec = IMAGE_SPEC) -> None:
        self.spec, self.number = spec, 0
        self.replay = Replay(folder / "replay.bin", spec, CAPACITY, np.random.default_rng(0))
        self.ingest: Ingest = make_ingest(folder, self.replay, spec=spec)
        limits: dict[str, Any] = {"max_batch_transitions": 5, "max_unacked_transitions": 1 << 20}
        self.writers = [make_writer(spec, name, **limits) for name in ("a", "b")]

    def episode(self, length: int, actor: int = 0) -> None:
        """Deliver an episode; the frames of transition k are numbered k and k + 1."""
        obs, writer = observe(self.number, self.spec), self.writers[actor]
        for step in range(length):
            after = observe(self.number + 1, self.spec)
            action = np.zeros(2, np.float32)
            writer.add(Transition(obs, after, action, self.number, 0.5, False, step == length - 1))
            obs, self.number = after, self.number + 1
        self.deliver(actor)

    def deliver(self, actor: int = 0) -> None:
        writer = self.writers[actor]
        writer.seal()
        while (frame := writer.next_frame(0.0)) is not None:
            self.ingest.accept(frame, 0.0)
            writer.sent(0.0)
        writer.acknowledge(writer.next_seq, 0.0)


def require_own_frames(batch: Records) -> None:
    flat = batch.ravel()
    assert numbers_of(flat["pixels"]) == flat["reward"].astype(int).tolist()
    assert numbers_of(flat["next_pixels"]) == (flat["reward"].astype(int) + 1).tolist()
    assert flat["obs"][:, 0].tolist() == flat["reward"].tolist()


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path)


def test_every_sampled_transition_has_its_own_frames(fleet: Fleet) -> None:
    for turn in range(30):
        fleet.episode(5 + turn, actor=turn % 2)
        batch = fleet.replay.sample(2, 64)
        assert (batch.shape, batch.dtype) == ((2, 64), IMAGE_SPEC.sample)
        require_own_frames(batch)
    assert len(fleet.replay) == CAPACITY
    assert set(fleet.replay.sample(1000)["reward"]) == set(range(fleet.number - CAPACITY, fleet.number))


def test_an_episode_stores_one_frame_more_than_transitions(fleet: Fleet) -> None:
    fleet.episode(20)
    fleet.episode(20)
    assert (fleet.replay.env_steps, fleet.replay.num_frames) == (40, 42)


def test_short_episodes_leave_fewer_transitions_and_none_without_frames(fleet: Fleet) -> None:
    for _ in range(200):
        fleet.episode(1)  # two frames a transition
    kept = len(fleet.replay)
    assert CAPACITY / 2 <= kept < CAPACITY * 0.6
    batch = fleet.replay.sample(500)
    require_own_frames(batch)
    assert set(batch["reward"]) == set(range(200 - kept, 200))


def test_a_slow_actors_transition_is_not_sampled_without_its_frames(fleet: Fleet) -> None:
    before = observe(10_000)
    fleet.writers[1].add(
        Transition(observe(9_999), before, np.zeros(2, np.float32), 9_999, 0.5, False, False)
    )
    fleet.deliver(1)
    fleet.episode(20)
    after = observe(10_001)
    fleet.writers[1].add(Transition(before, after, np.zeros(2, np.float32), 10_000, 0.5, False, True))
    fleet.deliver(1)
    assert 10_000 in fleet.replay.sample(1000)["reward"]
    fleet.episode(33)  # overwrites the frame before, while the transition is not the oldest
    batch = fleet.replay.sample(1000)
    assert 10_000 not in batch["reward"]
    assert len(set(batch["reward"])) > 40
    require_own_frames(batch)


def test_a_transition_whose_frame_is_no_longer_stored_is_rejected_and_counted(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = observe(10_000), observe(10_001)
    fleet.writers[1].add(Transition(before, before, np.zeros(2, np.float32), 9_999, 0.5, False, False))
    fleet.deliver(1)
    fleet.episode(100)
    fleet.writers[1].add(Transition(before, after, np.zeros(2, np.float32), 10_000, 0.5, False, False))
    fleet.writers[1].add(Transition(after, after, np.zeros(2, np.float32), 10_001, 0.5, False, True))
    fleet.deliver(1)
    totals = fleet.ingest.sessions.totals()
    assert (totals["produced"], totals["inserted"], totals["rejected"]) == (103, 102, 1)
    assert "1 of 2 have frames that are not stored" in caplog.text


def test_sampling_goes_on_after_a_resume_as_it_would_have(fleet: Fleet, tmp_path: Path) -> None:
    for _ in range(9):
        fleet.episode(4)
    state = fleet.replay.state_dict()
    wanted = fleet.replay.sample(3, 8)
    ingest, replay = recover_ingest(tmp_path, CAPACITY, spec=IMAGE_SPEC)
    assert (ingest.counters["torn"], replay.num_frames) == (0, fleet.replay.num_frames)
    replay.load_state_dict(state)
    assert replay.sample(3, 8).tobytes() == wanted.tobytes()
    fleet.replay, fleet.ingest = replay, ingest
    fleet.episode(4)  # refers to no frame of the learner before, but its session goes on
    require_own_frames(fleet.replay.sample(200))


@pytest.mark.parametrize("file", ["frames.bin", "replay.bin"])
def test_a_batch_whose_frames_or_rows_are_damaged_is_cut_off(fleet: Fleet, tmp_path: Path, file: str) -> None:
    fleet.episode(5)
    fleet.episode(5)
    stored = fleet.replay.frames if file == "frames.bin" else fleet.replay.rows
    assert stored is not None
    stored._items[stored.count - 1] ^= 255
    ingest, replay = recover_ingest(tmp_path, CAPACITY, spec=IMAGE_SPEC)
    assert (replay.env_steps, replay.num_frames, ingest.counters["torn"]) == (5, 6, 1)
    require_own_frames(replay.sample(50))


def test_frames_of_a_batch_whose_write_was_interrupted_overwrite_nothing(
    fleet: Fleet, tmp_path: Path
) -> None:
    while fleet.replay.num_frames < 3 * CAPACITY + IMAGE_SPEC.max_batch_frames:
        fleet.episode(20)
    frames = fleet.replay.frames
    assert frames is not None
    count, junk = frames.count, np.full((IMAGE_SPEC.max_batch_frames, IMAGE_SPEC.frame_bytes), 255, np.uint8)
    frames.insert(junk)
    frames.count = count  # killed before the journal's entry
    require_own_frames(fleet.replay.sample(500))
    _, replay = recover_ingest(tmp_path, CAPACITY, spec=IMAGE_SPEC)
    require_own_frames(replay.sample(500))


def sealed(**changes: Any) -> bytes:
    """Return a batch of one transition with two new frames, changed."""
    rows = np.zeros(1, IMAGE_SPEC.record)
    rows["frame"], rows["next_frame"] = MAX_FRAME_REFERENCE, MAX_FRAME_REFERENCE + 1
    for name in ("frame", "next_frame"):
        rows[name] = changes.pop(name, rows[name])
    frames = changes.pop("frames", np.zeros((2, IMAGE_SPEC.frame_bytes), np.uint8))
    return encode(make_batch(rows, spec=IMAGE_SPEC, frames=frames, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"frame": MAX_FRAME_REFERENCE + 2},
        {"next_frame": (1 << 64) - 1},
        {"frame": MAX_FRAME_REFERENCE - 1},
        {"frames": np.zeros((2, IMAGE_SPEC.frame_bytes + 1), np.uint8)},
        {"frames": np.zeros((0, 0), np.uint8)},
        {"frames": np.zeros((2, IMAGE_SPEC.frame_bytes), np.float32)},
        {"frames": np.zeros(128, np.uint8)},
        {"frames": np.zeros((IMAGE_SPEC.max_batch_frames + 1, IMAGE_SPEC.frame_bytes), np.uint8)},
        {"digest": SPEC.digest},
    ],
)
def test_references_and_frames_that_do_not_fit_are_rejected(fleet: Fleet, changes: dict[str, Any]) -> None:
    fleet.ingest.accept(sealed(**changes), 0.0)
    assert fleet.ingest.sessions.totals()["inserted"] == 0
    fleet.ingest.accept(sealed(seq=0 if "digest" in changes else 1, first_frame=2, produced=2), 0.0)
    assert fleet.ingest.sessions.totals()["inserted"] == 1


def test_frames_need_transitions_so_that_nobody_can_empty_the_replay(fleet: Fleet) -> None:
    fleet.episode(30)
    for seq in range(60):
        empty = make_batch(
            np.zeros(0, IMAGE_SPEC.record),
            spec=IMAGE_SPEC,
            actor_id="c",
            seq=seq,
            frames=np.zeros((1, IMAGE_SPEC.frame_bytes), np.uint8),
        )
        fleet.ingest.accept(encode(empty), 0.0)
    assert (len(fleet.replay), fleet.replay.num_frames) == (30, 31)


def test_sampling_is_bounded_however_many_transitions_have_lost_their_frames(fleet: Fleet) -> None:
    numbers = iter(range(1 << 20))

    def add(count: int, obs: Any) -> None:
        for _ in range(count):
            number = next(numbers)
            fleet.writers[1].add(Transition(obs, obs, np.zeros(2, np.float32), number, 0.5, False, False))
        fleet.deliver(1)

    add(1, observe(5))
    add(45, observe(6))  # one frame for all of them
    for number in range(100, 153):
        add(1, observe(number))
        assert fleet.replay.sample(128)["reward"].shape == (128,)
    stored = fleet.replay._are_stored(fleet.replay.read(fleet.replay.oldest, len(fleet.replay)))
    assert stored.mean() >= 0.25


def test_relabeled_transitions_are_limited_by_env_steps(fleet: Fleet) -> None:
    """The rate limiter does not count them, so their number must depend on those that it counts."""
    for seq, (env_steps, relabeled) in enumerate(
        [(0, 1), (1, MAX_HER_GOALS), (0, 1), (1, MAX_HER_GOALS + 1)]
    ):
        rows = np.zeros(env_steps + relabeled, IMAGE_SPEC.record)
        rows["relabeled"][env_steps:] = True
        rows["frame"] = rows["next_frame"] = MAX_FRAME_REFERENCE
        frames = np.zeros((1, IMAGE_SPEC.frame_bytes), np.uint8)
        batch = make_batch(rows, spec=IMAGE_SPEC, seq=seq, first_frame=seq, frames=frames)
        fleet.ingest.accept(encode(batch), 0.0)
    assert fleet.replay.relabeled == MAX_HER_GOALS
    assert fleet.replay.env_steps == 1


def test_a_session_cannot_use_a_frames_number_twice(fleet: Fleet) -> None:
    for seq, first in enumerate([0, 0, 1, 2, 1 << 40]):
        fleet.ingest.accept(sealed(seq=seq, first_frame=first, produced=seq + 1), 0.0)
    totals = fleet.ingest.sessions.totals()
    assert (totals["inserted"], totals["rejected"]) == (3, 2)


def test_a_batch_of_another_kind_of_spec_has_no_frames() -> None:
    batch = decode(encode(make_batch(np.zeros(1, SPEC.record), frames=np.zeros((1, 64), np.uint8))))
    with pytest.raises(Exception, match="frames"):
        batch.records(SPEC)  # type: ignore[attr-defined]


@pytest.mark.parametrize("amount", ["1MB", "64MB", "3GB"])
def test_a_capacity_in_bytes_is_the_size_of_the_files(amount: str) -> None:
    number = int(amount[:-2]) * {"MB": 10**6, "GB": 10**9}[amount[-2:]]
    capacity = transitions_of(amount, IMAGE_SPEC, 1 << 40)
    assert replay_bytes(IMAGE_SPEC, capacity) <= number < replay_bytes(IMAGE_SPEC, capacity + 2)


def test_the_default_capacity_fits_the_run(tmp_path: Path) -> None:
    assert transitions_of(None, SPEC, 4 << 30) == 1_000_000
    camera = {"name": "camera", "shape": (128, 128, 3), "dtype": "u1"}
    large = EnvSpec(env="a", obs_dim=0, action_dim=1, discount=0.9, n_step=1, obs_fields=(camera,))
    capacity = transitions_of(None, large, 4 << 30)
    assert 2 << 30 < replay_bytes(large, capacity) <= 3 << 30
    assert replay_bytes(large, capacity) / capacity < 1.1 * large.frame_bytes
    with pytest.raises(ConfigError, match=ONE_LINE):
        transitions_of("1kB", large, 4 << 30)


def test_the_files_are_allocated_up_front(fleet: Fleet, tmp_path: Path) -> None:
    sizes = [(tmp_path / name).stat().st_size for name in ("replay.bin", "frames.bin")]
    assert sum(sizes) == replay_bytes(IMAGE_SPEC, CAPACITY) == fleet.replay.metrics()["replay_bytes"]
    assert sizes[0] == (CAPACITY + MAX_ROWS) * IMAGE_SPEC.record.itemsize
