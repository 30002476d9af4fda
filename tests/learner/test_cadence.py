"""When policies are published: by the clock where everything runs free, by env steps in step."""

from graspfleet.common.settings.processes import LearnerConfig
from graspfleet.learner.publishing.cadence import PUBLISH_INTERVAL_S, Cadence


def test_free_running_policies_are_published_by_the_clock() -> None:
    cadence = Cadence(LearnerConfig(), in_step=False)
    assert cadence.due(10.0, 0, 1)
    assert not cadence.due(10.0 + PUBLISH_INTERVAL_S / 2, 1_000_000, 1)
    assert cadence.due(10.0 + PUBLISH_INTERVAL_S, 0, 1)


def test_in_step_they_are_published_every_second_env_step() -> None:
    cadence = Cadence(LearnerConfig(), in_step=True)
    assert cadence.due(10.0, 0, 1)
    due = [cadence.due(10.0, env_steps, 1) for env_steps in (1, 2, 3, 4)]
    assert due == [False, True, False, True]


def test_updates_that_catch_up_on_env_steps_are_published_by_the_clock() -> None:
    cadence = Cadence(LearnerConfig(), in_step=True)
    assert cadence.due(10.0, 500, 1)
    assert not cadence.due(10.0 + PUBLISH_INTERVAL_S / 2, 500, 1)
    assert cadence.due(10.0 + PUBLISH_INTERVAL_S, 500, 1)


def test_with_many_actors_broadcasts_are_rarer() -> None:
    cadence = Cadence(LearnerConfig(), in_step=True)
    assert cadence.due(10.0, 0, 16)
    assert not cadence.due(10.0, 7, 16)
    assert cadence.due(10.0, 8, 16)


def test_the_users_interval_goes_first() -> None:
    cadence = Cadence(LearnerConfig(publish_interval_s=3.0), in_step=True)
    assert cadence.due(10.0, 0, 1)
    assert not cadence.due(12.9, 1_000_000, 1)
    assert cadence.due(13.0, 1_000_000, 1)
