"""The receiver's half of the delivery guarantee: nothing that a peer sends stops it or touches another."""

import errno
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graspfleet.learner.experience.held_batches
import graspfleet.learner.experience.peers.sessions
from graspfleet.common.errors import StorageError
from graspfleet.common.fields import MAX_ROWS
from graspfleet.common.messages import Ack, Bye, Evaluation, Hello, Status
from graspfleet.common.protocol import encode
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.experience.ingest import Ingest
from graspfleet.learner.experience.rate_limiter import RateLimiter
from graspfleet.learner.experience.replay import Replay
from tests.common.golden import golden_messages
from tests.fakes import (
    OTHER_SESSION,
    SESSION,
    SPEC,
    make_batch,
    make_ingest,
    make_records,
    receive_from,
    recover_ingest,
)

LAST = (1 << 45) - 1


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    return Replay(tmp_path / "replay.bin", SPEC, 100, np.random.default_rng(0))


@pytest.fixture
def ingest(replay: Replay, tmp_path: Path) -> Ingest:
    return make_ingest(tmp_path, replay)


def good(seq: int, *, actor_id: str = "a", session_id: str = SESSION, produced: int | None = None) -> bytes:
    """Two transitions a batch."""
    made = 2 * (seq + 1) if produced is None else produced
    return encode(
        make_batch(make_records(2), seq=seq, actor_id=actor_id, session_id=session_id, produced=made)
    )


def bad(seq: int, *, actor_id: str = "a") -> bytes:
    records = make_records(2)
    records["reward"][1] = np.nan
    return encode(make_batch(records, seq=seq, actor_id=actor_id, produced=2 * (seq + 1)))


def hello(next_seq: int, *, actor_id: str = "a", session_id: str = SESSION) -> bytes:
    return encode(Hello(actor_id=actor_id, session_id=session_id, next_seq=next_seq, spec=SPEC))


def bye(next_seq: int) -> bytes:
    return encode(Bye(actor_id="a", session_id=SESSION, next_seq=next_seq))


def acked(ingest: Ingest) -> dict[tuple[str, str], int]:
    return {(actor, ack.session_id): ack.next_seq for actor, ack in ingest.acknowledgements()}


def test_batches_in_order_are_inserted_and_acknowledged(ingest: Ingest, replay: Replay) -> None:
    for seq in range(3):
        ingest.accept(good(seq), 0.0)
    assert len(replay) == 6
    assert ingest.acknowledgements() == [("a", Ack(session_id=SESSION, next_seq=3))]
    assert ingest.acknowledgements() == []
    assert ingest.sessions.totals() == {
        "produced": 6,
        "inserted": 6,
        "rejected": 0,
        "discarded": 0,
        "resent": 0,
    }


def test_a_duplicate_is_counted_and_acknowledged_again(ingest: Ingest, replay: Replay) -> None:
    for seq in (0, 1, 0, 1):
        ingest.accept(good(seq), 0.0)
    assert (len(replay), ingest.counters["duplicates"]) == (4, 2)
    ingest.acknowledgements()
    ingest.accept(good(0), 0.0)
    assert acked(ingest) == {("a", SESSION): 2}


def test_a_batch_after_a_gap_is_dropped_and_the_ack_says_where_to_go_back_to(
    ingest: Ingest, replay: Replay
) -> None:
    for seq in (0, 2, 3):
        ingest.accept(good(seq), 0.0)
    assert (len(replay), ingest.counters["gaps"]) == (2, 2)
    assert acked(ingest) == {("a", SESSION): 1}


def test_a_malformed_batch_is_used_up_counted_and_disturbs_nobody(ingest: Ingest, replay: Replay) -> None:
    for frame in (good(0), bad(1), good(2), good(0, actor_id="b"), bad(3), good(1, actor_id="b")):
        ingest.accept(frame, 0.0)
    assert acked(ingest) == {("a", SESSION): 4, ("b", SESSION): 2}
    assert ingest.sessions.totals() == {
        "produced": 12,
        "inserted": 8,
        "rejected": 4,
        "discarded": 0,
        "resent": 0,
    }
    assert np.isfinite(replay.sample(100)["reward"]).all()
    assert ingest.counters["rejected batches: not-finite"] == 2


def test_the_same_complaint_about_the_same_actor_is_logged_once(
    ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    for frame in (bad(0), bad(1), bad(2), bad(0, actor_id="b"), b"x", b"y"):
        ingest.accept(frame, 0.0)
    assert len(caplog.records) == 3
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_rejected_batch_brings_no_episode_news(ingest: Ingest) -> None:
    records = make_records(1)
    records["action"] = 2.0
    ingest.accept(encode(make_batch(records, episodes=((9.0, 1, None, 0),))), 0.0)
    assert not ingest.episodes.recent


def test_a_batch_longer_than_allowed_is_rejected(ingest: Ingest, replay: Replay) -> None:
    ingest.accept(encode(make_batch(make_records(MAX_ROWS + 1))), 0.0)
    assert (len(replay), ingest.sessions.totals()["rejected"]) == (0, MAX_ROWS + 1)
    ingest.accept(good(1, produced=MAX_ROWS + 3), 0.0)
    assert len(replay) == 2


def test_boots_of_one_actor_are_told_apart(ingest: Ingest, replay: Replay) -> None:
    for frame in (good(0), good(1), good(0, session_id=OTHER_SESSION)):
        ingest.accept(frame, 0.0)
    assert len(replay) == 6
    assert acked(ingest) == {("a", SESSION): 2, ("a", OTHER_SESSION): 1}
    assert ingest.sessions.liveness(0.0) == {"a": "alive"}


def test_hello_beyond_what_is_known_moves_on_and_counts_the_lost(ingest: Ingest, replay: Replay) -> None:
    ingest.accept(good(0), 0.0)
    ingest.accept(hello(5), 0.0)
    assert (ingest.counters["lost"], acked(ingest)) == (4, {("a", SESSION): 5})
    ingest.accept(hello(2), 0.0)  # an old one changes nothing
    assert (ingest.counters["lost"], acked(ingest)) == (4, {("a", SESSION): 5})
    ingest.accept(good(5), 0.0)
    assert len(replay) == 4


def test_hello_of_another_spec_opens_no_account(ingest: Ingest) -> None:
    spec = EnvSpec(**{**SPEC.to_mapping(), "obs_dim": 4})
    ingest.accept(encode(Hello(actor_id="a", session_id=SESSION, next_seq=0, spec=spec)), 0.0)
    assert (len(ingest.sessions), ingest.counters["refused: spec"]) == (0, 1)


def test_an_actor_grows_late_and_gone_and_comes_back(ingest: Ingest) -> None:
    ingest.accept(hello(0), 10.0)
    states = [ingest.sessions.liveness(now)["a"] for now in (10.0, 15.0, 15.1, 40.0, 40.1)]
    assert states == ["alive", "alive", "late", "late", "gone"]
    ingest.accept(good(0), 50.0)
    assert ingest.sessions.liveness(50.0) == {"a": "alive"}


def test_bye_before_everything_has_arrived_counts_the_lost(ingest: Ingest) -> None:
    ingest.accept(good(0), 0.0)
    ingest.accept(bye(3), 0.0)
    assert ingest.sessions.liveness(0.0) == {"a": "left"}
    assert ingest.counters["lost"] == 2


def test_rows_overwritten_since_the_checkpoint_are_no_torn_end(tmp_path: Path) -> None:
    replay = Replay(tmp_path / "replay.bin", SPEC, 50, np.random.default_rng(0))
    ingest = make_ingest(tmp_path, replay)
    num_batches = 3 * (50 + MAX_ROWS) // 1000
    for seq in range(num_batches):
        batch = make_batch(make_records(1000, start=1000 * seq), seq=seq, produced=1000 * (seq + 1))
        ingest.accept(encode(batch), 0.0)
    successor, rows = recover_ingest(tmp_path, 50)
    assert (rows.env_steps, successor.counters["torn"]) == (1000 * num_batches, 0)
    assert successor.sessions.totals() == ingest.sessions.totals()
    assert rows.sample(1000)["reward"].min() >= rows.env_steps - 50


@pytest.fixture
def limited(replay: Replay, tmp_path: Path) -> Ingest:
    """An ingest that takes four transitions before an update of four samples."""
    limiter = RateLimiter(samples_per_insert=1.0, min_inserts=1, tolerance=3.0, batch_size=4, max_inserts=100)
    return make_ingest(tmp_path, replay, limiter)


def test_batches_beyond_the_limit_are_held_and_what_is_behind_them_is_heard(limited: Ingest) -> None:
    frames = [good(seq) for seq in range(9)]
    behind = [
        hello(0, actor_id="b", session_id=OTHER_SESSION),
        good(0, actor_id="b", session_id=OTHER_SESSION),
    ]
    assert limited.drain(receive_from([*frames, *behind, None]), 99, 0.0) == 4
    assert (len(limited.held), limited.held.env_steps) == (8, 16)
    assert limited.liveness() == {"a": "alive", "b": "alive"}
    acks = dict(limited.acknowledgements(0.0))
    assert (acks["a"].next_seq, acks["a"].held) == (2, 7)
    assert (acks["b"].next_seq, acks["b"].held) == (0, 1)
    assert limited.drain(receive_from([good(3), good(9), None]), 99, 0.1) == 0  # a copy, and the next one
    assert limited.counters["duplicates"] == 1
    assert limited._limiter is not None
    limited._limiter.sampled()
    assert limited.drain(receive_from([None]), 99, 0.2) == 4
    assert limited.drain(receive_from([None]), 99, 0.2, everything=True) == 14
    assert not limited.held
    assert limited.sessions.totals()["inserted"] == 22


def test_an_actor_whose_batches_are_held_hears_that_it_is_heard(limited: Ingest) -> None:
    limited.drain(receive_from([good(seq) for seq in range(4)] + [None]), 99, 0.0)
    assert [ack.held for _, ack in limited.acknowledgements(0.0)] == [2]
    assert limited.acknowledgements(0.01) == []
    assert [ack.held for _, ack in limited.acknowledgements(0.06)] == [2]
    limited.drain(receive_from([None]), 99, 0.1, everything=True)
    assert [ack.held for _, ack in limited.acknowledgements(0.2)] == [0]
    assert limited.acknowledgements(0.3) == []


def test_live_actors_share_what_the_limiter_lets_pass(limited: Ingest) -> None:
    limited.accept(hello(0), 0.0)
    limited.drain(receive_from([None]), 9, 0.0)
    assert [ack.room for _, ack in limited.acknowledgements(0.0)] == [4]
    for name in "bcd":
        limited.accept(hello(0, actor_id=name, session_id=OTHER_SESSION), 1.0)
    limited.drain(receive_from([None]), 9, 1.0)
    assert [ack.room for _, ack in limited.acknowledgements(1.0)] == [1, 1, 1]
    limited.drain(receive_from([good(0), good(1), None]), 9, 1.1)
    assert [ack.room for _, ack in limited.acknowledgements(1.1)] == [1]  # nobody stands still for ever


def test_nothing_more_is_wanted_at_the_end(limited: Ingest) -> None:
    assert limited._limiter is not None
    limited._limiter.max_inserts = 3
    limited.drain(receive_from([good(seq) for seq in range(3)] + [None]), 9, 0.0)
    assert limited.sessions.totals()["inserted"] == 4  # one batch may pass the end
    assert [ack.room for _, ack in limited.acknowledgements(0.0)] == [0]


def test_a_goodbye_does_not_lose_what_is_held(limited: Ingest) -> None:
    frames = [good(seq) for seq in range(9)] + [bye(9), None]
    assert limited.drain(receive_from(frames), 99, 0.0) == 18
    assert limited.counters["lost"] == 0
    assert limited.liveness() == {"a": "left"}


def test_held_batches_are_bounded_for_each_actor_and_in_all(
    limited: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(make_records(2)) * SPEC.record.itemsize
    monkeypatch.setattr(graspfleet.learner.experience.held_batches, "MAX_HELD_BYTES_PER_ACTOR", 3 * size)
    monkeypatch.setattr(graspfleet.learner.experience.held_batches, "MAX_HELD_BYTES", 4 * size)
    limited.drain(receive_from([good(seq) for seq in range(9)] + [None]), 99, 0.0)
    assert len(limited.held) == 3
    assert limited.counters["throttled: too-far-ahead"] == 1
    assert limited.counters["gaps"] == 3
    other = [good(seq, actor_id="b", session_id=OTHER_SESSION) for seq in range(2)]
    limited.drain(receive_from([*other, None]), 99, 0.0)
    assert len(limited.held) == 4
    assert limited.counters["throttled: too-much-held"] == 1
    limited.drain(receive_from([good(seq) for seq in range(5, 9)] + [None]), 99, 0.0, everything=True)
    assert limited.sessions.totals()["inserted"] == 20  # what came again is taken, and nothing twice


def test_goodbye_after_everything_has_arrived(ingest: Ingest) -> None:
    ingest.accept(good(0), 0.0)
    ingest.accept(bye(1), 0.0)
    assert ingest.sessions.liveness(1000.0) == {"a": "left"}
    assert ingest.counters["lost"] == 0
    ingest.accept(hello(0, session_id=OTHER_SESSION), 1000.0)
    assert ingest.sessions.liveness(1000.0) == {"a": "alive"}


def test_episodes_and_the_lag_are_counted_and_evaluations_go_their_own_way(ingest: Ingest) -> None:
    ingest.lag.published(10, 5)
    for seq, version in enumerate((7, 9, 99)):
        episodes = ((float(seq), 1, True, 0),)
        ingest.accept(
            encode(make_batch(make_records(2), seq=seq, weights_version=version, episodes=episodes)), 0.0
        )
    evaluation = Evaluation(
        actor_id="e", session_id=SESSION, weights_version=1, env_steps=2, episodes=((1.0, 1, None, 0),)
    )
    ingest.accept(encode(evaluation), 0.0)
    assert ingest.lag.metrics()["policy_lag"] == (2 * 3 + 2 * 1 + 0) / 6
    assert [episode[0] for episode in ingest.episodes.recent] == [0.0, 1.0, 2.0]
    assert ingest.drain_evaluations() == [evaluation]
    assert ingest.drain_evaluations() == []


def test_drain_takes_at_most_what_it_is_told_and_returns_what_it_inserted(ingest: Ingest) -> None:
    frames = [good(0), b"garbage", good(1), good(1), good(2)]
    receive = receive_from([*frames, None, None])
    assert ingest.drain(receive, 3, 0.0) == 4
    assert ingest.drain(receive, 10, 0.0) == 2
    assert ingest.drain(receive, 10, 0.0) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frames=st.lists(st.binary(max_size=40) | st.sampled_from([encode(m) for m in golden_messages().values()]))
)
def test_no_frame_whatever_stops_it(ingest: Ingest, frames: list[bytes]) -> None:
    for frame in frames:
        ingest.accept(frame, 0.0)
    ingest.acknowledgements()


def test_the_largest_numbers_can_still_be_acknowledged(ingest: Ingest) -> None:
    ingest.accept(hello(LAST - 1), 0.0)
    ingest.accept(good(LAST - 1, produced=LAST), 0.0)
    assert acked(ingest) == {("a", SESSION): LAST}
    with pytest.raises(ValueError, match="seq"):
        good(LAST, produced=LAST)
    ingest.accept(good(0, actor_id="b", produced=LAST), 0.0)
    encode(Status(state="running", metrics=ingest.sessions.totals(), actors=ingest.sessions.liveness(0.0)))


def test_boots_are_bounded(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graspfleet.learner.experience.peers.sessions, "MAX_SESSIONS", 3)
    for number in range(5):
        ingest.accept(hello(0, actor_id=f"actor-{number}"), 0.0)
    assert len(ingest.sessions) == 3
    assert ingest.counters["refused: too-many-sessions"] == 2
    ingest.accept(good(0, actor_id="actor-0"), 0.0)  # those that are known go on
    assert ingest.sessions.totals()["inserted"] == 2


def test_sessions_and_rows_survive_a_kill(ingest: Ingest, replay: Replay, tmp_path: Path) -> None:
    for frame in (good(0), bad(1), good(0), good(0, actor_id="b", session_id=OTHER_SESSION)):
        ingest.accept(frame, 7.0)
    successor, rows = recover_ingest(tmp_path, 100)
    assert successor.sessions.totals() == ingest.sessions.totals()
    assert np.array_equal(rows.read(0, 4), replay.read(0, 4))
    assert successor.sessions.liveness(7.0) == {"a": "gone", "b": "gone"}
    successor.accept(good(1), 8.0)
    successor.accept(good(2), 8.0)
    assert acked(successor) == {("a", SESSION): 3}


def test_counters_survive_from_the_last_checkpoint_on(ingest: Ingest, tmp_path: Path) -> None:
    for frame in (good(0), good(0), b"garbage"):
        ingest.accept(frame, 0.0)
    ingest.ledger.checkpoint()
    successor, _ = recover_ingest(tmp_path, 100)
    assert successor.counters == ingest.counters
    assert (successor.counters["duplicates"], successor.counters["malformed"]) == (1, 1)


def test_rows_that_never_reached_the_disk_are_cut_off_and_counted(ingest: Ingest, tmp_path: Path) -> None:
    for seq in range(3):
        ingest.accept(good(seq), 0.0)
    with (tmp_path / "replay.bin").open("r+b") as file:
        file.seek(3 * SPEC.record.itemsize)  # in the second batch
        file.write(b"\xff" * 4)
    successor, rows = recover_ingest(tmp_path, 100)
    assert (rows.env_steps, successor.counters["torn"]) == (2, 1)
    successor.accept(good(1), 0.0)  # its actor has it still, as a power cut acknowledges nothing
    assert rows.env_steps == 4


def spoil(path: Path, entry_number: int) -> None:
    """Flip a bit in the body of the journal's entry of that number."""
    data = bytearray(path.read_bytes())
    start = -1
    for _ in range(entry_number + 3):  # the first two records are the snapshot
        start = data.index(data[:4], start + 1)
    data[start + 20] ^= 16
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("spoiled", [[0], [7], [3, 4, 5], [2, 9], [0, 13]])
def test_a_damaged_entry_costs_no_row_and_no_number(
    ingest: Ingest, replay: Replay, tmp_path: Path, spoiled: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    for seq in range(8):
        for actor_id in ("a", "b"):
            ingest.accept(good(seq, actor_id=actor_id), 0.0)
    for number in spoiled:
        spoil(tmp_path / "journal.bin", number)
    successor, rows = recover_ingest(tmp_path, 100)
    assert np.array_equal(rows.read(0, 32), replay.read(0, 32))
    assert rows.env_steps == 32
    assert successor.sessions.totals() == ingest.sessions.totals()
    assert successor.counters["torn"] == 0
    assert successor.counters["damaged"] == 1 + (len(spoiled) == 2)
    assert f"{len(spoiled)} batches there cannot be read; their {2 * len(spoiled)} transitions" in caplog.text
    successor.accept(good(7), 1.0)
    successor.accept(good(8), 1.0)
    assert (rows.env_steps, successor.counters["duplicates"]) == (34, 1)


def test_rows_of_an_actor_that_no_later_entry_names_are_kept_and_said(
    ingest: Ingest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for actor_id in ("a", "b"):
        ingest.accept(good(0, actor_id=actor_id), 0.0)
    spoil(tmp_path / "journal.bin", 0)
    successor, rows = recover_ingest(tmp_path, 100)
    assert (rows.env_steps, successor.sessions.totals()["inserted"]) == (4, 2)
    assert "2 of them of unknown actors" in caplog.text


def test_a_damaged_last_entry_is_cut_off_and_its_batch_counted_as_lost(
    ingest: Ingest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for seq in range(3):
        ingest.accept(good(seq), 0.0)
    spoil(tmp_path / "journal.bin", 2)
    successor, rows = recover_ingest(tmp_path, 100)
    assert (rows.env_steps, successor.counters["torn"]) == (4, 1)
    assert "cut off" in caplog.text
    successor.accept(hello(3), 1.0)  # it was acknowledged, so its actor has it no more
    assert successor.counters["lost"] == 1


def test_rows_that_no_entry_vouches_for_are_not_kept(ingest: Ingest, tmp_path: Path) -> None:
    for seq in range(3):
        ingest.accept(good(seq), 0.0)
    spoil(tmp_path / "journal.bin", 1)
    with (tmp_path / "replay.bin").open("r+b") as file:
        file.seek(2 * SPEC.record.itemsize)
        file.write(b"\xff" * 4)
    successor, rows = recover_ingest(tmp_path, 100)
    assert (rows.env_steps, successor.counters["torn"], successor.counters["damaged"]) == (2, 1, 1)


def test_episodes_and_lost_batches_survive_a_kill_to_the_last_one(ingest: Ingest, tmp_path: Path) -> None:
    ends = ((1.0, 2, None, 0),)
    for seq in (0, 1):
        ingest.accept(encode(make_batch(make_records(2), seq=seq, produced=9, episodes=ends)), 0.0)
    ingest.accept(hello(5), 0.0)
    successor, _ = recover_ingest(tmp_path, 100)
    assert (successor.counters["episodes"], successor.counters["lost"]) == (2, 3)
    successor.accept(hello(5), 1.0)
    assert successor.counters["lost"] == 3  # once is enough
    successor.accept(good(5, produced=20), 1.0)
    assert successor.sessions.totals()["inserted"] == 6


def test_a_journal_that_the_disk_refuses_stops_before_anything_is_acknowledged(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.accept(good(0), 0.0)
    ingest.acknowledgements()

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(StorageError, match="No space left"):
        ingest.accept(good(1), 0.0)
    assert acked(ingest) == {("a", SESSION): 1}


def test_silence_counts_only_while_the_learner_listens(ingest: Ingest) -> None:
    ingest.drain(receive_from([hello(0), None]), 10, 10.0)
    assert ingest.liveness() == {"a": "alive"}
    ingest.drain(receive_from([b"x"] * 3), 3, 100.0)  # more has arrived than it could read
    assert ingest.liveness() == {"a": "alive"}
    ingest.drain(receive_from([None]), 3, 100.0)
    assert ingest.liveness() == {"a": "gone"}
