"""The last policy beside the finalists: never clearly worse, and no episodes wasted on what is clear."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest

from graspfleet.actor.comparison import ROUND_EPISODES, Comparison, advantage
from graspfleet.common.evaluation.candidates import Candidate, Key
from graspfleet.common.fields import Episode

LAST, FIRST, SECOND = Key(9, 900), Key(1, 100), Key(2, 200)
Outcome = Callable[[int], Episode | None]


def returns(mean: float, std: float = 0.0) -> Outcome:
    """Episodes whose return depends on policy and seed."""
    rng = np.random.default_rng(int(abs(mean)))
    noise = rng.normal(0.0, std, 1000)
    return lambda seed: (mean + float(noise[seed]), 20, None, seed)


def succeeds(share: float) -> Outcome:
    return lambda seed: (1.0, 20, seed * 37 % 100 < 100 * share, seed)


def breaks(outcome: Outcome, seeds: Iterable[int]) -> Outcome:
    broken = set(seeds)
    return lambda seed: None if seed in broken else outcome(seed)


class Track:
    """Runs episodes as the policies' outcomes say, and notes how many of each."""

    def __init__(self, **outcomes: Outcome) -> None:
        self.counts: dict[Key, int] = {}
        self._outcomes = {
            {"last": LAST, "first": FIRST, "second": SECOND}[name]: o for name, o in outcomes.items()
        }

    def run(self, key: Key, count: int) -> tuple[list[Episode], int]:
        begun = self.counts.get(key, 0)
        self.counts[key] = begun + count
        done = [self._outcomes[key](seed) for seed in range(begun, begun + count)]
        whole = [episode for episode in done if episode is not None]
        return whole, count - len(whole)

    def decide(self, at_most: int = 100) -> Key:
        others = [key for key in (FIRST, SECOND) if key in self._outcomes]
        self.comparison = Comparison(LAST, others, self.run, at_most)
        return self.comparison.decide()


def test_a_clearly_better_finalist_is_taken() -> None:
    track = Track(last=returns(100.0, 30.0), first=returns(150.0, 30.0), second=returns(120.0, 30.0))
    assert track.decide() == FIRST
    assert track.counts == {LAST: 100, FIRST: 100, SECOND: 100}
    assert "clearly better than the last one" in track.comparison.verdict
    assert "3 policies" in track.comparison.verdict


def test_the_last_is_taken_where_nothing_is_clear() -> None:
    track = Track(last=returns(100.0, 80.0), first=returns(101.0, 80.0))
    assert track.decide() == LAST
    assert "none is clearly better" in track.comparison.verdict


def test_who_is_behind_runs_no_further() -> None:
    track = Track(last=returns(3000.0, 100.0), first=returns(1000.0, 100.0), second=returns(900.0, 10.0))
    assert track.decide() == LAST
    assert track.counts == {LAST: ROUND_EPISODES, FIRST: ROUND_EPISODES, SECOND: ROUND_EPISODES}


def test_a_last_policy_that_succeeds_needs_no_comparison() -> None:
    track = Track(last=succeeds(1.0), first=succeeds(1.0))
    assert track.decide() == LAST
    assert track.counts == {LAST: 2 * ROUND_EPISODES}
    assert "success above 91%" in track.comparison.verdict


def test_one_that_has_forgotten_gives_way_to_one_that_succeeds() -> None:
    assert Track(last=succeeds(0.6), first=succeeds(0.9), second=succeeds(0.5)).decide() == FIRST


def test_without_any_success_the_return_decides() -> None:
    fails = [lambda seed, value=value: (value + seed % 3, 20, False, seed) for value in (1.0, 2.0)]
    assert Track(last=fails[0], first=fails[1]).decide() == FIRST
    assert Track(last=fails[1], first=fails[0]).decide() == LAST


@pytest.mark.parametrize("share", [1, 10, 50, 100])
def test_a_policy_that_breaks_more_often_is_never_taken_for_its_returns(share: int) -> None:
    assert Track(last=returns(-20.0), first=breaks(returns(-8.0), range(0, share))).decide() == LAST


def test_a_last_policy_that_breaks_gives_way_to_one_that_does_not() -> None:
    assert Track(last=breaks(returns(-8.0), range(0, 100, 5)), first=returns(-20.0)).decide() == FIRST
    once = breaks(returns(9000.0), [3])
    assert Track(last=once, first=returns(100.0)).decide() == LAST  # one in a hundred is not clear


def test_what_breaks_for_all_is_nobodys_disadvantage() -> None:
    odd = range(1, 100, 2)
    assert (
        Track(last=breaks(returns(-20.0, 1.0), odd), first=breaks(returns(-10.0, 1.0), odd)).decide() == FIRST
    )
    assert Track(last=breaks(succeeds(0.2), odd), first=breaks(succeeds(0.9), odd)).decide() == FIRST


def test_where_everything_breaks_the_last_is_taken() -> None:
    track = Track(last=breaks(returns(0.0), range(100)), first=breaks(returns(0.0), range(100)))
    assert track.decide() == LAST


def test_few_episodes_decide_nothing_by_themselves() -> None:
    assert Track(last=returns(1.0), first=returns(2.0)).decide(at_most=1) == LAST
    track = Track(last=returns(1.0, 0.01), first=returns(200.0, 0.01))
    assert track.decide(at_most=25) == FIRST
    assert track.counts == {LAST: 25, FIRST: 25}


def test_the_advantage_is_paired_by_seed() -> None:
    one = Candidate(version=1, env_steps=1, episodes=((3.0, 1, None, 7), (5.0, 1, None, 8)))
    other = Candidate(version=2, env_steps=2, episodes=((4.0, 1, None, 8), (1.0, 1, None, 7)))
    assert sorted(advantage(one, other)) == [1.0, 2.0]
