"""Somebody with a listed key who says he is another: over real sockets into a real ingest."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from graspfleet.common.errors import ProtocolError
from graspfleet.common.messages import Bye, Evaluation, EvaluationStarted, Hello, Message
from graspfleet.common.protocol import encode
from graspfleet.learner.experience.ingest import MAX_EVALUATIONS, Ingest
from graspfleet.learner.experience.journal import Journal
from graspfleet.learner.experience.peers.sessions import Sessions
from graspfleet.learner.experience.peers.throttle import Throttle
from graspfleet.learner.experience.replay import Replay
from tests.end_to_end.harness import until
from tests.fakes import OTHER_SESSION, SESSION, SPEC, make_batch, make_ingest, make_records, receive_from
from tests.learner.auth_fixtures import AuthServer, auth_server


@pytest.fixture
def door(tmp_path: Path) -> Iterator[AuthServer]:
    with auth_server(tmp_path) as door:
        yield door


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    replay = Replay(tmp_path / "replay.bin", SPEC, 100, np.random.default_rng(0))
    return make_ingest(tmp_path, replay)


def batch(seq: int, *, actor_id: str = "actor-1", session_id: str = SESSION) -> bytes:
    return encode(
        make_batch(make_records(2), seq=seq, actor_id=actor_id, session_id=session_id, produced=2 * (seq + 1))
    )


def drain(door: AuthServer, ingest: Ingest) -> None:
    door.sockets.wait(0.05)
    ingest.drain(door.sockets.receive, 100, time.monotonic())


@pytest.mark.parametrize("forged", ["actor-1", "actor", "other2", "othe"])
def test_a_right_key_with_anothers_actor_id_changes_nothing(
    door: AuthServer, ingest: Ingest, forged: str
) -> None:
    messages: list[Message] = [
        make_batch(make_records(2), actor_id=forged, seq=1, produced=4),
        Hello(actor_id=forged, session_id=SESSION, next_seq=1000, spec=SPEC),
        Bye(actor_id=forged, session_id=SESSION, next_seq=1000),
        Evaluation(
            actor_id=forged, session_id=SESSION, weights_version=1, env_steps=2, episodes=((1e9, 1, True, 0),)
        ),
        EvaluationStarted(actor_id=forged, session_id=SESSION, weights_version=1, env_steps=2),
    ]
    with door.sender() as honest, door.sender(keys=str(door.keys), key_name="other") as thief:
        until(
            lambda: (honest.send(batch(0)), drain(door, ingest), len(ingest.sessions))[-1], "the honest one"
        )
        for message in messages:
            frame = encode(message)
            until(lambda frame=frame: thief.send(frame), "sent")
        until(
            lambda: (drain(door, ingest), ingest.counters["refused: actor-id"] == 5)[-1], "all five refused"
        )
        honest.send(batch(1))
        until(
            lambda: (drain(door, ingest), ingest.sessions["actor-1", SESSION].next_seq == 2)[-1], "it goes on"
        )
    assert ingest.counters["lost"] == 0
    assert not ingest.sessions["actor-1", SESSION].left
    assert ingest.drain_evaluations() == []
    assert len(ingest.sessions) == 1


def test_frames_of_an_earlier_boot_are_duplicates(door: AuthServer, ingest: Ingest) -> None:
    """Sent again by somebody who holds the actor's key; nobody else could even read them."""
    old = [batch(seq) for seq in range(3)]
    with door.sender() as actor:
        for frame in [*old, batch(0, session_id=OTHER_SESSION), *old, *old]:
            until(lambda frame=frame: actor.send(frame), "sent")
        until(lambda: (drain(door, ingest), ingest.counters["duplicates"] == 6)[-1], "six copies", 10)
    assert ingest.sessions.totals()["inserted"] == 2 * 4


def make_limited(tmp_path: Path, replay: Replay, sessions: Sessions, throttle: Throttle | None) -> Ingest:
    ingest = Ingest(SPEC, replay, Journal(tmp_path / "journal.bin"), sessions, throttle)
    ingest.ledger.checkpoint()
    return ingest


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    return Replay(tmp_path / "replay.bin", SPEC, 100, np.random.default_rng(0))


def test_a_flood_of_batches_is_held_to_its_rate_and_loses_nothing(tmp_path: Path, replay: Replay) -> None:
    sessions = Sessions(silent_after_s=5.0, gone_after_s=30.0)
    ingest = make_limited(tmp_path, replay, sessions, Throttle(3.0, 1e9))
    frames = [batch(seq) for seq in range(8)]
    taken = []
    for second in range(4):
        first = sessions["actor-1", SESSION].next_seq if second else 0  # what an actor goes back to
        arrived = [*frames[first:], batch(0, actor_id="actor-2"), None]
        ingest.drain(receive_from(arrived), len(arrived), float(second))
        taken.append(sessions["actor-1", SESSION].next_seq)
    assert taken == [3, 6, 8, 8]
    assert sessions["actor-2", SESSION].inserted == 2  # another one is not held back
    assert ingest.counters["throttled"] == 5 + 2


def test_bytes_are_limited_too_and_the_largest_message_still_passes() -> None:
    throttle = Throttle(1e9, 100.0)
    assert [throttle.admits("a", 1000, now_s) for now_s in (0.0, 0.5, 1.0, 1.5)] == [True, False, True, False]
    assert throttle.admits("b", 99, 0.0)
    assert throttle.admits("b", 99, 0.0)
    assert not throttle.admits("b", 1, 0.0)


def test_actors_of_one_key_are_limited_to_those_alive(tmp_path: Path, replay: Replay) -> None:
    sessions = Sessions(silent_after_s=5.0, gone_after_s=30.0, max_actors_per_key=2)
    ingest = make_limited(tmp_path, replay, sessions, None)
    for name in ("x-1", "x-2", "x-3", "y-1"):
        ingest.accept(batch(0, actor_id=name), 0.0, name[0])
    assert (len(sessions), ingest.counters["refused: too-many-actors"]) == (3, 1)
    ingest.accept(batch(1, actor_id="x-1"), 40.0, "x")
    ingest.accept(batch(0, actor_id="x-3"), 40.0, "x")  # x-2 has gone meanwhile
    assert sessions["x-3", SESSION].inserted == 2


def test_one_key_cannot_use_up_the_boots_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graspfleet.learner.experience.peers.sessions.MAX_SESSIONS_PER_KEY", 3)
    sessions = Sessions(silent_after_s=5.0, gone_after_s=30.0)
    for number in range(3):
        sessions.open(("x", f"{number:016x}"), key="x")
    with pytest.raises(ProtocolError, match="too-many-sessions"):
        sessions.open(("x", SESSION), key="x")
    sessions.open(("y", SESSION), key="y")


def test_evaluations_are_limited_as_each_may_cost_a_checkpoint(ingest: Ingest) -> None:
    for version in range(MAX_EVALUATIONS + 3):
        message = Evaluation(
            actor_id="a",
            session_id=SESSION,
            weights_version=version,
            env_steps=0,
            episodes=((1.0, 1, None, 0),),
        )
        ingest.accept(encode(message), 0.0)
    assert len(ingest.drain_evaluations()) == MAX_EVALUATIONS
    assert ingest.counters["throttled: too-many-evaluations"] == 3


@pytest.mark.parametrize("name", ["obs", "next_obs", "reward"])
def test_a_finite_but_absurd_batch_is_rejected(ingest: Ingest, name: str) -> None:
    records = make_records(2)
    records[name][1] = 3e38
    ingest.accept(encode(make_batch(records)), 0.0)
    assert ingest.sessions.totals()["inserted"] == 0
    assert ingest.counters[f"rejected batches: {name}"] == 1
