"""One environment's endless row of episodes, written down as transitions and summaries.

In: actions. Out: transitions and episode summaries, to the writer. It knows neither policy nor sockets.
"""

import logging

import numpy as np

from actor.environment import Environment, is_recoverable
from actor.writer import Writer
from common.nstep import NStepAdder
from common.specs import Floats

log = logging.getLogger(__name__)

MAX_BROKEN_RESETS = 10
"""In a row; then the environment itself is at fault."""


class EpisodeRunner:
    """Steps one environment, starts its episodes, and rebuilds it when it is due or broken.

    Args:
        env: the environment.
        writer: gets transitions and summaries.
        seeds: source of the episodes' seeds.
        reinit_episodes: the environment is rebuilt after so many episodes.

    Attributes:
        obs: [obs_dim] observation that the next action answers.
        episodes: finished so far.
    """

    def __init__(
        self, env: Environment, writer: Writer, seeds: np.random.Generator, reinit_episodes: int
    ) -> None:
        self.env = env
        self.episodes = 0
        self._writer = writer
        self._seeds = seeds
        self._reinit_episodes = reinit_episodes
        self._adder = NStepAdder(env.spec.n_step, env.spec.discount, writer.add)
        self.obs: Floats
        self._begin()

    def step(self, action: Floats) -> None:
        """Take one step with `action` [action_dim]; a broken one is thrown away and counted."""
        try:
            obs, reward, terminated, truncated, info = self.env.step(action)
        except Exception as error:
            if not is_recoverable(error):
                raise
            self._discard(error)
            return
        self._adder.add(self.obs, action, reward, obs, terminated=terminated, truncated=truncated)
        self.obs = obs
        self._return += reward
        self._length += 1
        if terminated or truncated:
            success = info.get("is_success")
            summary = (self._return, self._length, None if success is None else bool(success), self._seed)
            self._writer.add_episode(summary)
            self.episodes += 1
            if self.episodes % self._reinit_episodes == 0:
                self.env.reinit()
            self._begin()

    def cut(self) -> None:
        """Hand over the transitions still waiting for their n-step reward."""
        self._adder.cut()

    def _begin(self) -> None:
        for _ in range(MAX_BROKEN_RESETS):
            self._seed = int(self._seeds.integers(2**31))
            try:
                self.obs = self.env.reset(self._seed)
                break
            except Exception as error:
                if not is_recoverable(error):
                    raise
                log.warning("no episode begins with seed %d: %s", self._seed, error)
                self.env.reinit()
        else:
            raise RuntimeError(f"{MAX_BROKEN_RESETS} resets in a row broke")
        self._return: float = 0.0
        self._length: int = 0

    def _discard(self, error: Exception) -> None:
        log.warning("episode with seed %d broke after %d steps: %s", self._seed, self._length, error)
        self._writer.discarded += 1
        self._adder.cut()
        self.env.reinit()
        self._begin()
