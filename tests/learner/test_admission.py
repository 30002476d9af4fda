"""Who is heard: refusals, duplicate ids, limits in time, sessions that are closed without losing count."""

from pathlib import Path

import numpy as np
import pytest

import graspfleet.learner.experience.peers.admission
from graspfleet.common.errors import RefusedError
from graspfleet.common.messages import Ack, Bye, Evaluation, Hello
from graspfleet.common.protocol import encode, peek
from graspfleet.common.specs import EnvSpec
from graspfleet.learner.experience.ingest import MAX_EVALUATIONS, Ingest
from graspfleet.learner.experience.journal import Journal
from graspfleet.learner.experience.peers.sessions import FORGET_AFTER_S, KEPT_SESSIONS, Sessions
from graspfleet.learner.experience.peers.throttle import Throttle
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

OTHER = EnvSpec(env="Other-v0", obs_dim=4, action_dim=2, discount=0.5, n_step=1)


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    return Replay(tmp_path / "replay.bin", SPEC, 100, np.random.default_rng(0))


@pytest.fixture
def ingest(replay: Replay, tmp_path: Path) -> Ingest:
    return make_ingest(tmp_path, replay)


def batch(seq: int, *, actor_id: str = "a", session_id: str = SESSION, spec: EnvSpec = SPEC) -> bytes:
    records = make_records(2, spec=spec)
    return encode(
        make_batch(
            records, spec=spec, seq=seq, actor_id=actor_id, session_id=session_id, produced=2 * (seq + 1)
        )
    )


def hello(actor_id: str = "a", session_id: str = SESSION, *, spec: EnvSpec = SPEC, **fields: object) -> bytes:
    values = {"next_seq": 0, **fields}
    return encode(Hello(actor_id=actor_id, session_id=session_id, spec=spec, **values))


def evaluation(actor_id: str = "e", session_id: str = SESSION, num_episodes: int = 1) -> bytes:
    episodes = ((1.0, 1, None, 0),) * num_episodes
    return encode(
        Evaluation(
            actor_id=actor_id, session_id=session_id, weights_version=1, env_steps=2, episodes=episodes
        )
    )


def challenges(ingest: Ingest, now_s: float) -> dict[str, int]:
    """What each session is asked to say again."""
    return {ack.session_id: ack.challenge for _, ack in ingest.acknowledgements(now_s)}


def told(ingest: Ingest) -> list[tuple[str, str, str]]:
    return [(notice.peer.actor_id, notice.peer.session_id, notice.reason) for notice in ingest.refusals.due()]


def test_another_spec_is_refused_by_name_and_nothing_of_it_is_taken(ingest: Ingest, replay: Replay) -> None:
    ingest.accept(hello("wrong", spec=OTHER), 0.0)
    (notice,) = ingest.refusals.due()
    assert (notice.peer.actor_id, notice.peer.session_id, notice.reason) == ("wrong", SESSION, "spec")
    assert "--env Other-v0, allowed Fake-v0" in notice.detail
    assert "observations obs (4,), allowed obs (3,)" in notice.detail
    ingest.accept(batch(0, actor_id="wrong", spec=OTHER), 1.0)  # it goes on as if it had not heard
    assert told(ingest) == [("wrong", SESSION, "spec")]
    assert ingest.acknowledgements() == []
    assert (len(replay), ingest.sessions.totals()["produced"], len(ingest.sessions)) == (0, 0, 0)
    assert (ingest.counters["refused"], ingest.refusals.count) == (2, 1)


def test_an_evaluator_of_another_spec_is_refused_before_it_evaluates_anything(ingest: Ingest) -> None:
    ingest.accept(hello("e", spec=OTHER, role="evaluator"), 0.0)
    assert told(ingest) == [("e", SESSION, "spec")]
    assert ingest.refusals.among("evaluator", {}) == {"e": "refused"}


def test_an_evaluator_is_there_but_no_actor(ingest: Ingest) -> None:
    ingest.accept(hello("e", role="evaluator"), 0.0)
    ingest.accept(evaluation(), 1.0)
    assert (ingest.liveness(), ingest.peers().evaluators) == ({}, {"e": "alive"})
    ingest.accept(encode(Bye(actor_id="e", session_id=SESSION, next_seq=0, role="evaluator")), 2.0)
    assert (ingest.liveness(), ingest.peers().evaluators) == ({}, {"e": "left"})
    assert len(ingest.drain_evaluations()) == 1


def test_two_live_actors_of_one_id_are_seen_and_the_later_one_is_told(ingest: Ingest, replay: Replay) -> None:
    ingest.accept(batch(0), 0.0)
    ingest.accept(batch(0, session_id=OTHER_SESSION), 0.1)
    asked = challenges(ingest, 0.1)
    assert set(asked) == {SESSION, OTHER_SESSION}
    for session_id, challenge in asked.items():
        ingest.accept(hello(session_id=session_id, next_seq=1, answer=challenge), 0.2)
    assert told(ingest) == []
    ingest.accept(batch(1, session_id=OTHER_SESSION), 0.3)
    assert told(ingest) == [("a", OTHER_SESSION, "duplicate-id")]
    ingest.accept(batch(1), 0.4)
    assert len(replay) == 3 * 2  # both first batches are accounted for, and the owner goes on
    assert ingest.liveness() == {"a": "alive"}
    assert list(ingest.refusals.reasons()) == ["a"]


def test_a_restarted_actor_is_let_in_at_once_and_is_the_one_that_is_listed(ingest: Ingest) -> None:
    ingest.drain(receive_from([batch(0), None]), 9, 0.0)
    ingest.drain(receive_from([batch(0, session_id=OTHER_SESSION), batch(1), None]), 9, 0.5)
    ingest.accept(
        hello(session_id=OTHER_SESSION, next_seq=1, answer=challenges(ingest, 0.5)[OTHER_SESSION]), 0.6
    )
    ingest.accept(encode(Bye(actor_id="a", session_id=OTHER_SESSION, next_seq=1)), 0.7)
    assert ingest.liveness() == {"a": "left"}
    assert told(ingest) == []


def test_two_evaluators_of_one_id_are_seen_too(ingest: Ingest) -> None:
    for session_id in (SESSION, OTHER_SESSION):
        ingest.accept(hello("e", session_id, role="evaluator"), 0.0)
    for session_id, challenge in challenges(ingest, 0.1).items():
        ingest.accept(hello("e", session_id, role="evaluator", answer=challenge), 0.1)
    ingest.accept(evaluation(session_id=OTHER_SESSION), 0.2)
    assert told(ingest) == [("e", OTHER_SESSION, "duplicate-id")]
    assert ingest.drain_evaluations() == []


def make_limited(
    tmp_path: Path, replay: Replay, throttle: Throttle, sessions: Sessions | None = None
) -> Ingest:
    sessions = sessions or Sessions(silent_after_s=5.0, gone_after_s=30.0)
    ingest = Ingest(SPEC, replay, Journal(tmp_path / "journal.bin"), sessions, throttle)
    ingest.ledger.checkpoint()
    return ingest


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what is decoded from here on."""

    sizes: list[int] = []
    decode = graspfleet.learner.experience.peers.admission.decode

    def note(frame: bytes) -> object:
        sizes.append(len(frame))
        return decode(frame)

    monkeypatch.setattr(graspfleet.learner.experience.peers.admission, "decode", note)
    return sizes


def test_evaluations_and_garbage_are_throttled_before_they_are_decoded(
    tmp_path: Path, replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = make_limited(tmp_path, replay, Throttle(3.0, 1e9))
    sizes = decoded(monkeypatch)
    ingest.accept(hello("e", role="evaluator"), 0.0)
    ingest.accept(hello("e2", role="evaluator"), 0.0)
    for _ in range(10):
        ingest.accept(evaluation(num_episodes=100), 0.1)
        ingest.drain_evaluations()
    assert len(sizes) == 2 + 2  # the hello was the first of its three messages
    for _ in range(10):
        ingest.accept(b"GFLT" + bytes(1000), 0.2)
    assert len(sizes) == 4 + 1  # strangers said hello twice already
    ingest.accept(evaluation("e2"), 0.3)  # another one is not held back
    assert len(ingest.drain_evaluations()) == 1
    assert ingest.counters["throttled: too-fast"] == 8 + 9
    ingest.accept(evaluation(), 1.3)
    assert len(ingest.drain_evaluations()) == 1


def test_evaluations_that_nobody_has_looked_at_are_not_even_decoded(
    ingest: Ingest, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = decoded(monkeypatch)
    for _ in range(MAX_EVALUATIONS + 5):
        ingest.accept(evaluation(), 0.0)
    assert len(sizes) == MAX_EVALUATIONS
    assert ingest.counters["throttled: too-many-evaluations"] == 5


@pytest.mark.parametrize("actor_id", ["a", "x" * 31, "x" * 32, "x" * 64])
def test_the_sender_is_seen_without_decoding(actor_id: str) -> None:
    assert peek(batch(0, actor_id=actor_id)) == (actor_id, False)
    assert peek(memoryview(hello(actor_id))) == (actor_id, False)
    assert peek(evaluation(actor_id)) == (actor_id, True)


def test_a_glimpse_never_fails() -> None:
    for frame in map(encode, golden_messages().values()):
        for end in range(len(frame)):
            peek(frame[:end])
            peek(memoryview(frame[:end] + b"\xa8actor_id"))
            peek(frame[:end] + b"\xa8actor_id\xd9\xff\xff")
    assert peek(b"") == (None, False)


def test_any_number_of_sessions_keeps_the_totals_right_and_the_journal_small(
    tmp_path: Path, replay: Replay
) -> None:
    ingest, count = make_ingest(tmp_path, replay), 3 * KEPT_SESSIONS
    for number in range(count):
        session_id = f"{number:016x}"
        ingest.sessions.hear(
            (f"a{number}", session_id), key=None, now_s=float(number), listened_s=float(number)
        )
        session = ingest.sessions[f"a{number}", session_id]
        session.produced, session.inserted, session.next_seq, session.left = 7, 7, 1, True
        assert len(ingest.sessions) <= KEPT_SESSIONS + 1
    assert ingest.sessions.totals()["produced"] == 7 * count
    ingest.ledger.checkpoint()
    assert (tmp_path / "journal.bin").stat().st_size < 100 * KEPT_SESSIONS
    successor, _ = recover_ingest(tmp_path, 100)
    assert successor.sessions.totals() == ingest.sessions.totals()


def crowd(ingest: Ingest, now_s: float) -> None:
    """Have so many come and leave that old sessions are closed."""
    for number in range(KEPT_SESSIONS + 2):
        session = f"crowd{number}", f"{number:016x}"
        ingest.sessions.hear(session, key=None, now_s=now_s, listened_s=now_s).left = True


def test_one_that_comes_back_after_its_account_was_closed_is_told_and_delivers_nothing_twice(
    ingest: Ingest, replay: Replay, tmp_path: Path
) -> None:
    ingest.drain(receive_from([batch(0), None]), 9, 0.0)  # the acknowledgement is lost
    crowd(ingest, FORGET_AFTER_S + 1)
    assert ingest.sessions.get(("a", SESSION)) is None
    ingest.ledger.checkpoint()
    for each in (ingest, recover_ingest(tmp_path, 100)[0]):
        each.accept(batch(0), FORGET_AFTER_S + 2)
        assert told(each) == [("a", SESSION, "forgotten")]
        assert each.sessions.totals()["inserted"] == 2
    ingest.accept(batch(0, session_id=OTHER_SESSION), FORGET_AFTER_S + 3)  # started again
    assert ingest.sessions.totals()["inserted"] == 4


def test_nobody_who_may_come_back_is_closed(ingest: Ingest) -> None:
    ingest.drain(receive_from([batch(0), None]), 9, 0.0)
    crowd(ingest, FORGET_AFTER_S - 1)
    ingest.accept(batch(1), FORGET_AFTER_S - 0.5)
    assert (told(ingest), ingest.sessions["a", SESSION].inserted) == ([], 4)


def test_after_a_restart_everybody_has_time_to_be_heard(ingest: Ingest, tmp_path: Path) -> None:
    ingest.drain(receive_from([batch(0), None]), 9, 0.0)
    successor, _ = recover_ingest(tmp_path, 100)
    crowd(successor, 1e6)
    successor.accept(batch(1), 1e6)
    assert successor.sessions["a", SESSION].inserted == 4


def test_closed_sessions_no_longer_count_against_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graspfleet.learner.experience.peers.sessions.MAX_SESSIONS_PER_KEY", 3)
    monkeypatch.setattr("graspfleet.learner.experience.peers.sessions.KEPT_SESSIONS", 2)
    sessions = Sessions(silent_after_s=5.0, gone_after_s=30.0)
    for number in range(20):
        sessions.hear(("x", f"{number:016x}"), key="x", now_s=number, listened_s=number).left = True
    stays = Sessions(silent_after_s=5.0, gone_after_s=30.0)
    for number in range(3):
        stays.hear((f"x-{number}", SESSION), key="x", now_s=number, listened_s=number)
    with pytest.raises(RefusedError, match="too-many-sessions"):
        stays.hear(("x-3", SESSION), key="x", now_s=3.0, listened_s=3.0)


def test_an_acknowledgement_for_a_closed_account_is_left_out(ingest: Ingest) -> None:
    ingest.accept(batch(0), 0.0)
    ingest.accept(encode(Bye(actor_id="a", session_id=SESSION, next_seq=1)), 0.0)
    crowd(ingest, 1.0)
    assert [ack for _, ack in ingest.acknowledgements(1.0) if isinstance(ack, Ack)] == []
