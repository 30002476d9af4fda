"""What an actor does: its policy's actions, and random ones among them.

In: observations. Out: actions. It knows neither environments nor sockets.
"""

import numpy as np

from common.policy import NumpyPolicy
from common.specs import Floats


class BehaviorPolicy:
    """Chooses actions; uniform random ones until there is a policy.

    A policy that has become sure of itself hardly tries anything else, and where it waits for something to
    happen, as with a gripper that is about to close, the critics never see what acting would have brought:
    its mean action may then wait for ever. A few random actions show them (epsilon-greedy; Sutton and Barto
    2018, Reinforcement Learning, section 2.2).

    Args:
        action_dim: A, numbers of an action.
        rng: of every random action.
        deterministic: take the policy's mean action, not a sample.
        random_action_prob: of the actions that are random in spite of a policy.

    Attributes:
        policy: the newest, None before the first.
    """

    def __init__(
        self, action_dim: int, rng: np.random.Generator, *, deterministic: bool, random_action_prob: float
    ) -> None:
        self.policy: NumpyPolicy | None = None
        self._action_dim, self._rng = action_dim, rng
        self._deterministic, self._random_action_prob = deterministic, random_action_prob

    def act(self, obs: Floats) -> Floats:
        """Return an action in [-1, 1] for each observation.

        Args:
            obs: [K, obs_dim] float32, finite.

        Returns:
            [K, A] float32, a new array.
        """
        if self.policy is None:
            return self._random(len(obs))
        actions = self.policy.act(obs, deterministic=self._deterministic)
        if self._random_action_prob:
            rows = self._rng.random(len(obs)) < self._random_action_prob
            if rows.any():
                actions[rows] = self._random(int(rows.sum()))
        return actions

    def _random(self, count: int) -> Floats:
        return self._rng.uniform(-1, 1, (count, self._action_dim)).astype(np.float32)
