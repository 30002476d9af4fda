"""A file that is touched while the loop runs, for health checks that cannot ask the learner."""

import os
from pathlib import Path

from graspfleet.common.errors import ConfigError
from graspfleet.common.runtime.interval import Interval

HEARTBEAT_VARIABLE = "GRASPFLEET_HEARTBEAT"
"""Environment variable with the path of the file; unset: no file. Health checks of images read its age."""
BEAT_INTERVAL_S = 1.0


class Heartbeat:
    """Touches the file named by `HEARTBEAT_VARIABLE`, at most once every `BEAT_INTERVAL_S`.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self) -> None:
        name = os.environ.get(HEARTBEAT_VARIABLE)
        self._file = Path(name) if name else None
        self._interval = Interval(BEAT_INTERVAL_S)
        try:
            self.beat()
        except OSError as error:
            raise ConfigError(
                f"{HEARTBEAT_VARIABLE} {name}: {error.strerror}; allowed: a writable file"
            ) from None

    def beat(self) -> None:
        """Touch the file if a beat is due."""
        if self._file is not None and self._interval.due_now():
            self._file.touch()
