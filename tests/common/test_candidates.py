"""Which policy is the best: lucky episodes, broken ones and those reported twice do not make one so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graspfleet.common.evaluation.candidates import NUM_FINALISTS, Candidate, Key, Selected
from graspfleet.common.fields import Episode

Episodes = tuple[Episode, ...]


def episodes(*returns: float, success: bool | None = None, first_seed: int = 0) -> Episodes:
    return tuple((value, 20, success, first_seed + index) for index, value in enumerate(returns))


def candidate(version: int, whole: Episodes = (), broken: int = 0) -> Candidate:
    return Candidate(version=version, env_steps=100 * version).with_report(whole, broken)


def best_of(*candidates: Candidate) -> int:
    selected = Selected()
    for each in candidates:
        selected = selected.with_candidate(each)
    assert selected.best is not None
    return selected.best.version


def test_few_lucky_episodes_are_worth_less_than_many_good_ones() -> None:
    rng = np.random.default_rng(0)
    good = candidate(1, episodes(*rng.normal(100.0, 30.0, 100)))
    lucky = candidate(2, episodes(80.0, 160.0, 90.0))
    assert best_of(good, lucky) == best_of(lucky, good) == 1
    assert (
        best_of(candidate(1, episodes(*[1.0] * 20, success=True)), candidate(2, episodes(9.0, success=True)))
        == 1
    )


def test_success_goes_before_return() -> None:
    able = candidate(1, episodes(*[1.0] * 20, success=True))
    rich = candidate(2, episodes(*[50.0] * 20, success=False))
    assert best_of(rich, able) == 1


def test_single_episodes_are_told_apart_by_their_return() -> None:
    assert best_of(candidate(1, episodes(-5.0)), candidate(2, episodes(-4.0))) == 2


@given(
    whole=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    more=st.integers(1, 20),
    success=st.sampled_from([None, False, True]),
)
def test_a_broken_episode_never_improves_a_score(whole: list[float], more: int, success: bool | None) -> None:
    parts = episodes(*whole, success=success)
    for broken in range(3):
        assert candidate(1, parts, broken + more).score < candidate(1, parts, broken).score
    failed = episodes(*[-1e6] * more, success=None if success is None else False, first_seed=100)
    assert candidate(1, parts, more).score < candidate(1, parts + failed).score


def test_a_policy_that_breaks_more_often_is_not_the_best_for_it() -> None:
    steady = candidate(1, episodes(*[-20.0] * 20))
    breaks = candidate(2, episodes(*[-8.0] * 10), broken=10)
    always = candidate(3, broken=20)
    assert best_of(steady, breaks, always) == best_of(always, breaks, steady) == 1
    assert best_of(always, breaks) == 2
    falls = candidate(4, episodes(*[1.0] * 10, success=True), broken=10)
    lifts = candidate(
        5, episodes(*[1.0] * 12, success=True) + episodes(*[0.0] * 8, success=False, first_seed=50)
    )
    assert best_of(falls, lifts) == 5


def test_an_evaluation_that_arrives_again_counts_once() -> None:
    report = episodes(1.0, 2.0, 3.0)
    once = candidate(1, report, broken=1)
    assert once.with_report(report, 1) is once
    assert once.with_report(report[:2], 0) is once  # whoever runs the same seeds again says nothing new
    more = once.with_report(episodes(4.0, first_seed=9), 2)
    assert ([episode[0] for episode in more.episodes], more.broken) == ([1.0, 2.0, 3.0, 4.0], 3)
    broken = more.with_report((), 5)
    assert broken.broken == 8
    assert broken.with_report((), 5) is broken
    assert more.with_report(report, 1) is more


def test_the_best_gives_way_to_a_higher_score_only() -> None:
    selected = Selected().with_candidate(candidate(1, episodes(-100.0, -100.0)))
    selected = selected.with_candidate(candidate(2, episodes(-500.0, -500.0)))
    assert selected.best == Key(1, 100)
    selected = selected.with_candidate(candidate(3, episodes(-90.0, -90.0)))
    assert selected.best == Key(3, 300)
    again = candidate(3, episodes(-90.0, -90.0)).with_report(episodes(-800.0, -900.0, first_seed=7), 0)
    assert selected.with_candidate(again).best == Key(1, 100)


def test_finalists_are_the_best_few() -> None:
    selected = Selected()
    for version in (4, 9, 1, 7, 3, 8):
        selected = selected.with_candidate(candidate(version, episodes(version, version)))
    assert [each.version for each in selected.finalists] == [9, 8, 7][:NUM_FINALISTS]


def test_what_a_comparison_named_stays_until_a_later_evaluation_beats_it() -> None:
    lucky, last = candidate(1, episodes(9.0, 9.0)), candidate(2, episodes(5.0, 5.0))
    selected = Selected().with_candidate(lucky).compared([lucky, last], last.key, 100, "tossed")
    assert selected.best == last.key
    assert selected.chosen_by(last.key) == "tossed"
    selected = selected.with_candidate(candidate(3, episodes(4.0, 4.0)))
    assert selected.best == last.key
    assert selected.comparison is not None
    selected = selected.with_candidate(candidate(4, episodes(6.0, 6.0)))
    assert selected.best == Key(4, 400)
    assert selected.comparison is None
    assert "evaluations during training, 2 episodes" in selected.chosen_by(Key(4, 400))
    assert "no record" in selected.chosen_by(last.key)


@pytest.mark.parametrize("broken", [0, 3])
def test_it_survives_the_way_through_json(broken: int) -> None:
    one = candidate(1, episodes(1.5, success=True), broken)
    selected = Selected().with_candidate(one).compared([one, candidate(2)], one.key, 20, "tossed")
    assert Selected.model_validate_json(selected.model_dump_json()) == selected
