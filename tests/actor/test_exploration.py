"""BehaviorPolicy: random until there is a policy, then the policy's actions with random ones among them."""

import numpy as np
import pytest

from graspfleet.actor.exploration import BehaviorPolicy
from graspfleet.common.policy import NumpyPolicy
from tests.fakes import SPEC

OBS = np.zeros((1000, SPEC.obs_dim), np.float32)
CALM = 0.5
"""The fixed policy's mean action, in both of its numbers."""


def make_policy() -> NumpyPolicy:
    """A policy that hardly varies: mean `CALM`, standard deviation exp(-20)."""
    shapes = {"w0": (3, 4), "b0": (4,), "w1": (4, 4), "b1": (4,), "w2": (4, 4), "b2": (4,)}
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    arrays["b2"][:] = [np.arctanh(CALM)] * 2 + [-20.0] * 2
    return NumpyPolicy(arrays, SPEC, np.random.default_rng(0))


def make_behavior(*, random_action_prob: float = 0.0, deterministic: bool = False) -> BehaviorPolicy:
    rng = np.random.default_rng(1)
    return BehaviorPolicy(
        SPEC.action_dim, rng, deterministic=deterministic, random_action_prob=random_action_prob
    )


def test_without_a_policy_actions_are_uniform() -> None:
    actions = make_behavior().act(OBS)
    assert actions.shape == (1000, 2)
    assert actions.dtype == np.float32
    np.testing.assert_allclose(actions.mean(0), 0.0, atol=0.1)
    np.testing.assert_allclose(actions.std(0), 1 / np.sqrt(3), atol=0.05)


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("random_action_prob", [0.0, 0.1, 1.0])
def test_a_share_of_the_actions_is_random(random_action_prob: float, deterministic: bool) -> None:
    behavior = make_behavior(random_action_prob=random_action_prob, deterministic=deterministic)
    behavior.policy = make_policy()
    actions = behavior.act(OBS)
    random = ~np.isclose(actions, CALM, atol=1e-4).all(axis=1)
    assert random.mean() == pytest.approx(random_action_prob, abs=0.04)
    assert len(np.unique(actions[random, 0])) == np.count_nonzero(random)
    assert np.abs(actions).max() <= 1.0
