"""Exploration: the policy's actions mixed with random ones.

In: observations. Out: actions. Must not know: environments, sockets.
"""

import numpy as np

from graspfleet.common.observations.fields import Floats, Pixels
from graspfleet.common.policy import NumpyPolicy


class BehaviorPolicy:
    """The policy that generates experience: epsilon-greedy over the newest policy, uniform before the first.

    A policy with little entropy may wait forever before an irreversible action, such as closing the gripper,
    because the critics never observe the alternative. A few uniform actions show it to them (epsilon-greedy;
    Sutton and Barto 2018, Reinforcement Learning, section 2.2).

    Args:
        action_dim: A, size of an action.
        rng: source of the random actions.
        deterministic: use the policy's mean action instead of a sample.
        random_action_prob: probability of a uniform random action in each env step.

    Attributes:
        policy: the newest policy; None before the first.
    """

    def __init__(
        self, action_dim: int, rng: np.random.Generator, *, deterministic: bool, random_action_prob: float
    ) -> None:
        self.policy: NumpyPolicy | None = None
        self._action_dim, self._rng = action_dim, rng
        self._deterministic, self._random_action_prob = deterministic, random_action_prob

    def act(self, obs: Floats, pixels: Pixels | None = None) -> Floats:
        """Return an action in [-1, 1] for each observation.

        Args:
            obs: [K, obs_dim] float32, finite.
            pixels: [K, frame_bytes] uint8; None without images.

        Returns:
            [K, A] float32, a new array.
        """
        if self.policy is None:
            return self._random(len(obs))
        actions = self.policy.act(obs, pixels, deterministic=self._deterministic)
        if self._random_action_prob:
            rows = self._rng.random(len(obs)) < self._random_action_prob
            if rows.any():
                actions[rows] = self._random(int(rows.sum()))
        return actions

    def _random(self, count: int) -> Floats:
        return self._rng.uniform(-1, 1, (count, self._action_dim)).astype(np.float32)
