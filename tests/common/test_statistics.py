"""Success rates with their intervals, and the line people read."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graspfleet.common.evaluation.statistics import describe, mean_low, summarize, wilson_interval
from graspfleet.common.fields import Episode


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (95, 100, 0.8882, 0.9785),
        (5, 100, 0.0215, 0.1118),
        (10, 10, 0.7225, 1.0),
        (0, 10, 0.0, 0.2775),
        (1, 1, 0.2065, 1.0),
        (50, 100, 0.4038, 0.5962),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_gives_the_known_intervals(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(trials=st.integers(1, 10_000), data=st.data())
def test_the_interval_holds_the_rate_and_mirrors_the_failures(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-12
    assert successes / trials - 1e-12 <= high <= 1
    assert wilson_interval(trials - successes, trials) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(
    ("count", "quantile", "within"),
    [(4, 3.182, 0.13), (10, 2.262, 0.01), (20, 2.093, 1e-3), (100, 1.984, 1e-3)],
)
def test_the_interval_of_a_mean_is_students(count: int, quantile: float, within: float) -> None:
    values = [float(value) for value in range(count)]
    mean, error = sum(values) / count, np.std(values, ddof=1) / count**0.5
    assert (mean - mean_low(values)) / error == pytest.approx(quantile, abs=within)
    assert mean_low(values[:1]) == -np.inf
    assert mean_low([3.0] * count) == 3.0


def test_a_summary_counts_successes_among_the_episodes_that_say() -> None:
    episodes: list[Episode] = [(1.0, 5, True, 0), (3.0, 5, False, 1), (5.0, 5, True, 2), (7.0, 5, None, 3)]
    summary = summarize(episodes)
    assert summary["success_rate"] == pytest.approx(2 / 3)
    assert (summary["success_low"], summary["success_high"]) == wilson_interval(2, 3)
    assert (summary["mean_return"], summary["episodes"]) == (4.0, 4)
    assert summary["std_return"] == pytest.approx(5**0.5)
    assert describe(summary) == (
        "4 episodes: return 4.00 ± 2.24, success 66.7% (95 % interval 20.8% to 93.9%)"
    )


def test_without_success_there_is_no_rate() -> None:
    summary = summarize([(1.0, 5, None, 0)])
    assert (summary["success_rate"], summary["success_low"], summary["success_high"]) == (None, None, None)
    assert describe(summary) == "1 episodes: return 1.00 ± 0.00"
    assert summarize([(1.0, 5, False, 0)])["success_rate"] == 0.0


def test_broken_episodes_are_counted_beside_the_means_not_in_them() -> None:
    whole: list[Episode] = [(-20.0, 20, None, seed) for seed in range(16)]
    summary = summarize(whole, broken=24)
    assert (summary["mean_return"], summary["success_rate"]) == (-20.0, None)
    assert (summary["episodes"], summary["broken_episodes"]) == (16, 24)
    assert describe(summary) == "16 episodes: return -20.00 ± 0.00; 24 of 40 episodes broke"


def test_where_every_episode_broke_there_are_no_means() -> None:
    summary = summarize([], broken=3)
    assert (summary["mean_return"], summary["std_return"], summary["episodes"]) == (None, None, 0)
    assert describe(summary) == "3 of 3 episodes broke"


def test_the_largest_returns_that_the_wire_allows_stay_finite() -> None:
    summary = summarize([(1e100, 1, None, 0), (-1e100, 1, None, 0)])
    assert (summary["mean_return"], summary["std_return"]) == (0.0, 1e100)
