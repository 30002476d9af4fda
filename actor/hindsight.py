"""Hindsight experience replay: an episode's transitions again, with goals that it did achieve.

In: the env steps of one environment with goals. Out: relabeled transitions. Must not know: sockets, policies.

Source: Andrychowicz et al. 2017, Hindsight Experience Replay (arXiv 1707.01495), strategy "future".
"""

import logging
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from graspfleet.actor.goal_rewards import GoalRewards
from graspfleet.common.errors import BrokenEpisodeError
from graspfleet.common.observations.fields import Floats, Observation
from graspfleet.common.specs import EnvSpec
from graspfleet.common.transition import Transition

log = logging.getLogger(__name__)

MAX_STEPS = 1000
"""Largest number of env steps kept; a longer episode is relabeled in parts of this length."""


class Hindsight:
    """Keeps the env steps of an episode, and emits them with other goals at its end.

    Each env step yields `num_goals` transitions. Their goals are achieved goals of the same episode, drawn
    uniformly from those after the step. Rewards are the environment's own; an end stays an end.

    Args:
        rewards: places of the goals, and rewards for others.
        spec: discount and n of the returns.
        sink: receives each transition.
        num_goals: goals per env step.
        rng: source of the goals.
    """

    def __init__(
        self,
        rewards: GoalRewards,
        spec: EnvSpec,
        sink: Callable[[Transition], None],
        num_goals: int,
        rng: np.random.Generator,
    ) -> None:
        self._rewards, self._spec, self._sink = rewards, spec, sink
        self._num_goals, self._rng = num_goals, rng
        self._steps: list[tuple[Observation, Floats, Observation, bool, bool]] = []
        self._has_failed = False

    def add(
        self, obs: Observation, action: Floats, next_obs: Observation, *, terminated: bool, truncated: bool
    ) -> None:
        """Add one env step; the last one of an episode emits all of them."""
        self._steps.append((obs, action, next_obs, terminated, truncated))
        if terminated or truncated or len(self._steps) == MAX_STEPS:
            self.flush()

    def flush(self) -> None:
        """Emit the relabeled transitions of all steps added since the last call."""
        steps, self._steps = self._steps, []
        if not steps:
            return
        starts = np.repeat(np.arange(len(steps)), self._num_goals)
        achieved = np.stack([step[2].vector[self._rewards.achieved] for step in steps])
        goals = achieved[self._rng.integers(starts, len(steps))]
        try:
            returns, factors, ends = self._returns(achieved, goals, starts)
        except BrokenEpisodeError as error:
            if not self._has_failed:
                log.warning("--her: an episode is not relabeled: %s (further ones are not logged)", error)
            self._has_failed = True
            return
        for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
            (obs, action, *_), (_, _, next_obs, terminated, truncated) = steps[start], steps[end]
            self._sink(
                Transition(
                    self._with_goal(obs, goals[index]),
                    self._with_goal(next_obs, goals[index]),
                    action,
                    float(returns[index]),
                    float(factors[index]),
                    terminated,
                    truncated,
                    relabeled=True,
                )
            )

    def _returns(
        self, achieved: Floats, goals: Floats, starts: NDArray[np.intp]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
        """Return n-step rewards [M], discounts of the bootstrap [M], and indices of the last steps [M].

        Args:
            achieved: [T, G] goals achieved after each step.
            goals: [M, G].
            starts: [M] first steps.
        """
        spec = self._spec
        returns, factors, ends = np.zeros(len(starts)), np.ones(len(starts)), starts
        for offset in range(min(spec.n_step, len(achieved))):
            alive = starts + offset < len(achieved)
            ends = np.where(alive, starts + offset, ends)
            rewards = self._rewards.compute(achieved[ends], goals)
            returns += np.where(alive, factors * rewards, 0.0)
            factors = np.where(alive, factors * spec.discount, factors)
        return returns, factors, ends

    def _with_goal(self, obs: Observation, goal: Floats) -> Observation:
        vector = obs.vector.copy()
        vector[self._rewards.desired] = goal
        return Observation(vector, obs.frame)
