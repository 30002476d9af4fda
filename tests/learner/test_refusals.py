"""Whoever is refused is told in time and in bounds, and the operator sees it."""

import logging

import pytest

from graspfleet.common.errors import RefusedError
from graspfleet.common.fields import MAX_LINE, MAX_REFUSED_SHOWN
from graspfleet.common.messages import Refusal, Status
from graspfleet.learner.access.refusals import MAX_PER_S, MAX_REMEMBERED, Peer, Refusals
from tests.fakes import OTHER_SESSION, SESSION

SPEC_ERROR = RefusedError("spec", "obs_dim 4, allowed 3")


def peer(number: int = 0, *, session_id: str = SESSION, key: str | None = None) -> Peer:
    return Peer(f"a{number}", session_id, "actor", key)


def test_a_refused_process_is_told_at_once_and_then_once_a_second() -> None:
    refusals = Refusals()
    told = []
    for tenth in range(25):
        refusals.refuse(peer(), SPEC_ERROR, tenth / 10)
        told.append(len(refusals.due()))
    assert [tenth for tenth, count in enumerate(told) if count] == [0, 10, 20]
    assert refusals.count == 1


def test_each_process_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    for now_s in (0.0, 5.0):
        for session_id in (SESSION, OTHER_SESSION):
            refusals.refuse(peer(session_id=session_id), SPEC_ERROR, now_s)
    assert refusals.count == len(caplog.records) == 2
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "actor a0: spec: obs_dim 4, allowed 3" in caplog.text


def test_a_flood_of_names_cannot_make_the_learner_talk_remember_or_show_without_bound() -> None:
    refusals = Refusals()
    for number in range(2 * MAX_REMEMBERED):
        refusals.refuse(peer(number, key="mallory"), SPEC_ERROR, 0.5)
    refusals.refuse(peer(key="honest"), SPEC_ERROR, 0.5)
    assert [notice.peer.key for notice in refusals.due()].count("mallory") == MAX_PER_S
    refusals.refuse(peer(1, key="honest"), SPEC_ERROR, 0.5)
    assert [notice.peer.key for notice in refusals.due()] == ["honest"]
    states = refusals.among("actor", {f"alive{number}": "alive" for number in range(4096)})
    Status(state="running", metrics={}, actors=states, refused=refusals.reasons())
    assert len(refusals.reasons()) == MAX_REFUSED_SHOWN


def test_what_a_peer_wrote_is_told_as_one_printable_line_of_bounded_length() -> None:
    refusals = Refusals()
    refusals.refuse(peer(), RefusedError("spec", "env \x1b[2J\nGrasp\u00e9" + "x" * 100_000), 0.0)
    (notice,) = refusals.due()
    Refusal(session_id=SESSION, key="", reason=notice.reason, detail=notice.detail)
    assert notice.detail.startswith("spec: env ?[2J?Grasp?xxx")
    assert len(notice.detail) == MAX_LINE


def test_the_operator_sees_who_is_refused_until_its_id_is_let_in() -> None:
    refusals = Refusals()
    refusals.refuse(peer(1), SPEC_ERROR, 0.0)
    refusals.refuse(peer(2), RefusedError("duplicate-id"), 0.0)
    assert refusals.among("actor", {"a2": "alive", "a3": "left"}) == {
        "a1": "refused",
        "a2": "alive",  # the other one of that id
        "a3": "left",
    }
    assert refusals.among("evaluator", {}) == {}
    assert refusals.reasons() == {"a1": str(SPEC_ERROR), "a2": "duplicate-id"}
    refusals.accept("a1")
    assert refusals.among("actor", {"a1": "alive"}) == {"a1": "alive", "a2": "refused"}
