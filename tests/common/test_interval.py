"""Something that is due every so often."""

from graspfleet.common.runtime.interval import Interval


def test_it_is_due_at_once_and_then_every_so_often() -> None:
    interval = Interval(2.0)
    assert [interval.due(now) for now in (10.0, 10.0, 11.9, 12.0, 12.1, 13.9, 14.0)] == [
        True,
        False,
        False,
        True,
        False,
        False,
        True,
    ]


def test_what_was_missed_is_not_made_up_for() -> None:
    interval = Interval(2.0)
    assert [interval.due(now) for now in (0.0, 100.0, 101.0, 102.0)] == [True, True, False, True]


def test_the_real_clock_counts() -> None:
    interval = Interval(1e9)
    assert (interval.due_now(), interval.due_now()) == (True, False)
