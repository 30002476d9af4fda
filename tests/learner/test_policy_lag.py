"""The age of the policies that act, in versions and in env steps."""

from graspfleet.learner.publishing.policy_lag import KEPT_VERSIONS, PolicyLag


def test_both_ages_are_means_over_transitions() -> None:
    lag = PolicyLag()
    lag.published(1, 100)
    lag.published(2, 110)
    lag.arrived(3, 2, 111)
    lag.arrived(1, 1, 114)
    assert lag.metrics() == {"policy_lag": 1 / 4, "policy_age": (3 * 1 + 14) / 4}
    assert lag.metrics() == {"policy_lag": 1 / 4, "policy_age": 17 / 4}  # nothing new


def test_random_actions_lag_behind_but_have_no_age() -> None:
    lag = PolicyLag()
    lag.arrived(10, 0, 0)
    assert lag.metrics() == {"policy_lag": 0.0, "policy_age": 0.0}
    lag.published(3, 50)
    lag.arrived(10, 0, 60)
    assert lag.metrics() == {"policy_lag": 3.0, "policy_age": 0.0}


def test_a_version_that_is_forgotten_counts_as_the_oldest_known() -> None:
    lag = PolicyLag()
    for version in range(1, KEPT_VERSIONS + 3):
        lag.published(version, 10 * version)
    lag.arrived(1, 1, 10 * KEPT_VERSIONS)
    assert lag.metrics()["policy_age"] == 10 * KEPT_VERSIONS - 30
