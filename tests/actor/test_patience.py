"""Broken episodes: counted, said in few lines, paused after, and bounded in a row."""

import pytest

from graspfleet.actor.patience import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    MAX_BROKEN_IN_ROW,
    MAX_BROKEN_STARTS,
    SOUND_STEPS,
    Patience,
)
from graspfleet.common.errors import BrokenEpisodeError, ConfigError


def raised() -> BrokenEpisodeError:
    error = BrokenEpisodeError("reset() raised RuntimeError: link lost")
    error.__cause__ = RuntimeError("link lost")
    return error


class Watch:
    """A patience whose pauses are only noted."""

    def __init__(self) -> None:
        self.pauses_s: list[float] = []
        self.patience = Patience("Arm-v0", self.pauses_s.append)


def test_starts_that_raise_are_paused_after_ever_longer_and_bounded() -> None:
    watch = Watch()
    for _ in range(MAX_BROKEN_STARTS - 1):
        watch.patience.broke(raised(), 0)
    assert watch.pauses_s[:4] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S, 8 * FIRST_PAUSE_S]
    assert watch.pauses_s[-1] == LONGEST_PAUSE_S
    with pytest.raises(ConfigError, match=rf"\A--env Arm-v0: {MAX_BROKEN_STARTS} .* link lost\Z"):
        watch.patience.broke(raised(), 0)


def test_a_step_that_is_sound_begins_the_row_of_starts_anew() -> None:
    watch = Watch()
    for _ in range(2):
        for _ in range(MAX_BROKEN_STARTS - 1):
            watch.patience.broke(raised(), 0)
        watch.patience.broke(raised(), 1)
    watch.patience.broke(raised(), 0)
    assert watch.pauses_s[-1] == FIRST_PAUSE_S


@pytest.mark.parametrize("between", ["whole", "long"])
def test_episodes_that_all_break_are_bounded_too(between: str) -> None:
    patience = Watch().patience
    for _ in range(3):
        for _ in range(MAX_BROKEN_IN_ROW - 1):
            patience.broke(raised(), 5)
        if between == "whole":
            patience.whole()
        else:
            patience.broke(raised(), SOUND_STEPS)
    for _ in range(MAX_BROKEN_IN_ROW - 1):
        patience.broke(raised(), 5)
    with pytest.raises(ConfigError, match=str(MAX_BROKEN_IN_ROW)):
        patience.broke(raised(), 5)


def test_an_evaluation_counts_all_that_break_in_a_row() -> None:
    patience = Watch().patience
    for _ in range(3 * MAX_BROKEN_IN_ROW):
        patience.broke(raised(), 5, bounded=False)
    assert patience.broken == 3 * MAX_BROKEN_IN_ROW


def test_a_wrong_number_is_not_waited_for() -> None:
    watch = Watch()
    watch.patience.broke(BrokenEpisodeError("reset() returned nan"), 0)
    assert watch.pauses_s == []


def test_the_log_grows_with_the_logarithm(caplog: pytest.LogCaptureFixture) -> None:
    patience = Watch().patience
    for _ in range(1000):
        patience.broke(raised(), SOUND_STEPS)
    assert len(caplog.messages) == 10
