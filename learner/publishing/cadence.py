"""Publishing times of the newest policy: at a fixed interval, and in step also every few env steps.

Pure: time and counters are passed in.
"""

from graspfleet.common.runtime.interval import Interval
from graspfleet.common.settings.processes import LearnerConfig

PUBLISH_INTERVAL_S = 0.2
"""Default longest time in seconds between two broadcasts."""
ENV_STEPS = 2
"""Env steps between two broadcasts in step, so that acting policies are only a few env steps old."""
ACTORS_PER_ENV_STEP = 2
"""Live actors per additional env step between broadcasts: with more actors, each steps less often and a
broadcast costs more."""


class Cadence:
    """Decides when to publish.

    Args:
        config: `publish_interval_s`, if the user set one.
        in_step: whether the rate limiter keeps updates in step with env steps.
    """

    def __init__(self, config: LearnerConfig, *, in_step: bool) -> None:
        self._in_step = in_step and config.publish_interval_s is None
        self._interval = Interval(config.publish_interval_s or PUBLISH_INTERVAL_S)
        self._env_steps = 0

    def due(self, now_s: float, env_steps: int, num_actors: int) -> bool:
        """Return whether a broadcast is due; if so, start the wait for the next one.

        Args:
            now_s: monotonic time, seconds.
            env_steps: env steps received so far.
            num_actors: number of live actors.
        """
        enough = max(ENV_STEPS, num_actors // ACTORS_PER_ENV_STEP)
        if self._in_step and env_steps - self._env_steps >= enough:
            self._interval.restart(now_s)
        elif not self._interval.due(now_s):
            return False
        self._env_steps = env_steps
        return True
