"""The rate limiter: a band around the asked ratio that both sides keep and that never stops both."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from graspfleet.common.errors import ConfigError
from graspfleet.common.settings.config import RateConfig, ReplayConfig
from graspfleet.common.settings.flags import LearnerFlags
from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.learner.experience.rate_limiter import RateLimiter, make_limiter


@given(
    ratio=st.none() | st.floats(0.01, 1000),
    batch_size=st.integers(1, 512),
    num_updates=st.integers(1, 16),
    tolerance=st.floats(0, 1000),
    min_inserts=st.integers(0, 200),
    chunks=st.lists(st.integers(1, 64), min_size=1, max_size=50),
    eager=st.lists(st.booleans(), min_size=1, max_size=50),
)
@example(ratio=2.0, batch_size=1, num_updates=1, tolerance=4.0, min_inserts=0, chunks=[4], eager=[False])
def test_both_sides_go_on_within_the_band(
    ratio: float | None,
    batch_size: int,
    num_updates: int,
    tolerance: float,
    min_inserts: int,
    chunks: list[int],
    eager: list[bool],
) -> None:
    at_once = batch_size * num_updates
    limiter = RateLimiter(
        samples_per_insert=ratio,
        min_inserts=min_inserts,
        tolerance=tolerance,
        batch_size=batch_size,
        num_updates=num_updates,
    )
    for step in range(300):
        chunk = chunks[step % len(chunks)]
        may_insert, may_sample = limiter.may_insert(chunk), limiter.may_sample()
        assert may_insert or may_sample  # else both would wait for ever
        if may_insert and (eager[step % len(eager)] or not may_sample):
            limiter.inserted(chunk)
        else:
            limiter.sampled()
        if limiter.samples:
            assert limiter.env_steps >= limiter.min_inserts
        if ratio is not None and limiter.env_steps >= limiter.min_inserts:
            assert limiter.deficit >= -tolerance - 1e-6
            # A chunk larger than the band is inserted once updates would otherwise have to wait for it, and
            # so is the one that reaches `min_inserts`, before which nothing counts.
            before = max(at_once - tolerance, -ratio)
            assert limiter.deficit <= max(tolerance, before + ratio * max(chunks)) + 1e-6


def alternate(limiter: RateLimiter, rounds: int) -> None:
    """Each round, each side goes as far as it may, actors one transition at a time."""
    for _ in range(rounds):
        for _ in range(1000):
            if not limiter.may_insert(1):
                break
            limiter.inserted(1)
        for _ in range(1000):
            if not limiter.may_sample():
                break
            limiter.sampled()


def test_the_ratio_is_met_in_the_long_run() -> None:
    limiter = RateLimiter(samples_per_insert=4.0, min_inserts=100, tolerance=64.0, batch_size=32)
    alternate(limiter, 200)
    assert limiter.samples / (limiter.env_steps - 100) == pytest.approx(4.0, rel=0.05)
    assert limiter.samples > 10_000


def test_nothing_is_sampled_before_the_least_inserts() -> None:
    limiter = RateLimiter(samples_per_insert=1.0, min_inserts=10, tolerance=5.0, batch_size=4)
    limiter.inserted(9)
    assert (limiter.may_insert(1), limiter.may_sample()) == (True, False)
    limiter.inserted(1)
    assert (limiter.may_insert(1), limiter.may_sample()) == (True, True)


def test_even_without_a_least_number_nothing_is_sampled_from_nothing() -> None:
    limiter = RateLimiter(samples_per_insert=None, min_inserts=0, tolerance=0.0, batch_size=4)
    assert not limiter.may_sample()
    limiter.inserted(1)
    assert limiter.may_sample()


def test_free_running_holds_nobody_back() -> None:
    limiter = RateLimiter(samples_per_insert=None, min_inserts=1, tolerance=0.0, batch_size=256)
    for _ in range(1000):
        limiter.inserted(1000)
        assert limiter.may_insert(1)
    for _ in range(10_000):
        limiter.sampled()
        assert limiter.may_sample()
        assert limiter.may_insert(1)
    assert limiter.deficit == 0.0


def test_an_amount_is_checked_before_it_passes() -> None:
    limiter = RateLimiter(samples_per_insert=4.0, min_inserts=10, tolerance=16.0, batch_size=4)
    limiter.inserted(10)
    assert limiter.may_insert(4)
    assert not limiter.may_insert(5)
    for _ in range(4):
        assert limiter.may_sample()
        limiter.sampled()
    assert not limiter.may_sample()  # one more would pass the band
    assert limiter.may_insert(5)


def test_what_is_larger_than_the_band_waits_until_it_is_needed() -> None:
    limiter = RateLimiter(
        samples_per_insert=256.0, min_inserts=1, tolerance=1024.0, batch_size=256, num_updates=16
    )
    limiter.inserted(1)
    assert not limiter.may_sample()  # 16 updates at once: 12 transitions have to be there first
    assert limiter.room() == 12
    assert limiter.may_insert(32)
    limiter.inserted(32)
    assert limiter.may_sample()
    assert not limiter.may_insert(32)


def test_updates_and_env_steps_are_equal_when_the_run_is_done() -> None:
    limiter = RateLimiter(
        samples_per_insert=256.0, min_inserts=100, tolerance=1024.0, batch_size=256, max_inserts=2999
    )
    updates = 0
    while not limiter.done:
        if limiter.may_insert(3):
            assert limiter.room() >= 1
            limiter.inserted(3)
        elif limiter.may_sample():
            limiter.sampled()
            updates += 1
    assert limiter.env_steps == 3000  # one batch may pass the end
    assert updates == 2900
    assert (limiter.room(), limiter.may_insert(1)) == (0, False)


@pytest.mark.parametrize(
    ("rate", "tolerance"),
    [
        (RateConfig(), 4),
        (RateConfig(updates_per_step=None, samples_per_insert=8.0), 100),
        (RateConfig(rate_tolerance=7), 7),
    ],
)
def test_the_default_band_is_narrow_where_step_for_step_is_wanted(rate: RateConfig, tolerance: int) -> None:
    limiter = make_limiter(LearnerFlags(rate=rate), 1)
    assert limiter.samples_per_insert is not None
    assert limiter.tolerance == tolerance * limiter.samples_per_insert


def test_state_survives() -> None:
    limiter = RateLimiter(samples_per_insert=2.0, min_inserts=5, tolerance=64.0, batch_size=32)
    alternate(limiter, 3)
    again = RateLimiter(samples_per_insert=2.0, min_inserts=5, tolerance=64.0, batch_size=32)
    again.load_state_dict(limiter.state_dict())
    assert again.deficit == limiter.deficit
    assert (again.env_steps, again.samples) == (limiter.env_steps, limiter.samples)


def test_updates_per_step_are_samples_of_a_whole_batch() -> None:
    flags = LearnerFlags(
        replay=ReplayConfig(batch_size=64), rate=RateConfig(updates_per_step=0.5, rate_tolerance=10)
    )
    limiter = make_limiter(flags, 1)
    assert (limiter.samples_per_insert, limiter.tolerance, limiter.min_inserts) == (32.0, 320.0, 1000)


def test_exploring_longer_than_the_run_is_refused() -> None:
    flags = LearnerFlags(learner=LearnerConfig(explore_steps=11, total_env_steps=10))
    with pytest.raises(ConfigError, match="--explore-steps 11: allowed: at most --total-env-steps 10"):
        make_limiter(flags, 1)
