"""Publishing times of the newest policy: every few seconds, and in step every few env steps too.

Pure: time and counters are passed in.
"""

from graspfleet.common.runtime.interval import Interval
from graspfleet.common.settings.processes import LearnerConfig

PUBLISH_INTERVAL_S = 0.2
"""Seconds between two broadcasts at the most, unless the user says otherwise."""
ENV_STEPS = 2
"""Env steps between two broadcasts in step: a policy that acts is a few env steps old."""
ACTORS_PER_ENV_STEP = 2
"""With more actors, each steps less often and a broadcast costs more: one env step more for so many."""


class Cadence:
    """Tells when to publish.

    Args:
        config: `publish_interval_s`, if the user set one.
        in_step: whether the rate limiter keeps updates and env steps together.
    """

    def __init__(self, config: LearnerConfig, *, in_step: bool) -> None:
        self._in_step = in_step and config.publish_interval_s is None
        self._interval = Interval(config.publish_interval_s or PUBLISH_INTERVAL_S)
        self._env_steps = 0

    def due(self, now_s: float, env_steps: int, num_actors: int) -> bool:
        """Return whether it is time, and if so start waiting for the next one.

        Args:
            now_s: monotonic time, seconds.
            env_steps: learned from so far.
            num_actors: live actors.
        """
        enough = max(ENV_STEPS, num_actors // ACTORS_PER_ENV_STEP)
        if self._in_step and env_steps - self._env_steps >= enough:
            self._interval.restart(now_s)
        elif not self._interval.due(now_s):
            return False
        self._env_steps = env_steps
        return True
