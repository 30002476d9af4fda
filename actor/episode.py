"""Consecutive episodes of one environment, recorded as transitions and summaries.

In: actions. Out: transitions and episode summaries, to the writer. Must not know: policy, sockets.
"""

from collections.abc import Iterator

from graspfleet.actor.environment import Environment
from graspfleet.actor.hindsight import Hindsight
from graspfleet.actor.writer import Writer
from graspfleet.common.errors import BrokenEpisodeError
from graspfleet.common.nstep import NStepAdder
from graspfleet.common.observations.fields import Floats, Observation
from graspfleet.common.runtime.reports import hint


class EpisodeRunner:
    """Steps one environment, starts its episodes, and rebuilds it periodically and after failures.

    Args:
        env: the environment.
        writer: receives transitions and summaries.
        seeds: endless sequence of episode seeds.
        reinit_episodes: episodes between two rebuilds.
        hindsight: relabels the transitions; None: no relabeling.

    Attributes:
        obs: current observation.
        episodes: number of finished episodes.
    """

    def __init__(
        self,
        env: Environment,
        writer: Writer,
        seeds: Iterator[int],
        reinit_episodes: int,
        hindsight: Hindsight | None = None,
    ) -> None:
        self.env = env
        self.episodes = 0
        self._writer = writer
        self._seeds = seeds
        self._reinit_episodes = reinit_episodes
        self._adder = NStepAdder(env.spec.n_step, env.spec.discount, writer.add)
        self._hindsight = hindsight
        self._said_long = False
        self.obs: Observation
        self._begin()

    def step(self, action: Floats) -> None:
        """Take one step with `action` [action_dim]; a broken step is discarded and counted."""
        try:
            obs, reward, terminated, truncated, info = self.env.step(action)
        except BrokenEpisodeError as error:
            self._discard(error)
            return
        self._adder.add(self.obs, action, reward, obs, terminated=terminated, truncated=truncated)
        if self._hindsight is not None:
            self._hindsight.add(self.obs, action, obs, terminated=terminated, truncated=truncated)
        self.obs = obs
        self._return += reward
        self._length += 1
        if terminated or truncated:
            self._writer.add_episode((self._return, self._length, self.env.success(info), self._seed))
            self.env.patience.whole()
            self.episodes += 1
            self._begin(rebuild=self.episodes % self._reinit_episodes == 0)
        elif self._length == self.env.cut_after and not self._said_long:
            self._said_long = True
            hint(
                "--max-episode-steps",
                f"--env {self.env.name}: an episode has not ended after {self._length} env steps; returns are"
                " shown only for episodes that end: --max-episode-steps sets their length",
            )

    def flush(self) -> None:
        """Emit the transitions whose n-step rewards are still incomplete.

        An unfinished episode is not relabeled: that would call the environment, which may be what hangs.
        """
        self._adder.flush()

    def _begin(self, *, rebuild: bool = False) -> None:
        """Start the next episode; after a failed reset, try again with another seed."""
        self._return: float = 0.0
        self._length: int = 0
        while True:
            self._seed = next(self._seeds)
            try:
                if rebuild:
                    self.env.reinit()
                self.obs = self.env.reset(self._seed)
                return
            except BrokenEpisodeError as error:
                self._writer.discarded += 1
                self.env.patience.broke(error, 0)
                rebuild = True

    def _discard(self, error: BrokenEpisodeError) -> None:
        """Discard the broken step, keep the valid ones before it, and start a new episode."""
        self._writer.discarded += 1
        self.flush()
        if self._hindsight is not None:
            self._hindsight.flush()
        self.env.patience.broke(error, self._length)
        self._begin(rebuild=True)
