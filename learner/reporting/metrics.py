"""Every number that a run writes down: its name, unit and where it goes.

`docs/metrics.md` has the equations; a test holds page and table together.
"""

import json
import logging
from collections import deque
from collections.abc import Iterable, Mapping

from common.errors import StorageError
from common.evaluation.statistics import summarise
from common.messages import Episode
from common.runtime.run_directory import RunDirectory
from learner.appender import Appender
from learner.reporting.board import Board

log = logging.getLogger(__name__)

METRICS: dict[str, str] = {
    "wall_s": "s",
    "env_steps": "env steps",
    "updates": "updates",
    "env_steps_per_s": "env steps/s",
    "updates_per_s": "updates/s",
    "samples_per_insert": "samples/transition",
    "learner_wait_s": "s",
    "actors_wait_s": "s",
    "replay_size": "transitions",
    "weights_version": "versions",
    "policy_lag": "versions",
    "policy_age": "env steps",
    "actors_alive": "processes",
    "produced": "transitions",
    "inserted": "transitions",
    "rejected": "transitions",
    "discarded": "env steps",
    "duplicates": "batches",
    "gaps": "batches",
    "resent": "batches",
    "lost": "batches",
    "torn": "crashes",
    "damaged": "places",
    "throttled": "messages",
    "malformed": "frames",
    "refused": "messages",
    "refused_actors": "processes",
    "connections": "connections",
    "refused_connections": "connections",
    "refused_handshakes": "connections",
    "cut_handshakes": "connections",
    "cut_connections": "connections",
    "broken_connections": "connections",
    "revoked_frames": "frames",
    "keys": "keys",
    "insecure": "0 or 1",
    "episodes": "episodes",
    "episode_return": "reward",
    "episode_length": "env steps",
    "episode_success": "share",
    "evaluations": "evaluations",
    "repeated_evaluations": "evaluations",
    "uncounted_evaluations": "evaluations",
    "eval_env_steps": "env steps",
    "eval_broken_episodes": "episodes",
    "eval_return": "reward",
    "eval_return_std": "reward",
    "eval_success": "share",
    "eval_success_low": "share",
    "eval_success_high": "share",
    "critic_loss": "reward²",
    "policy_loss": "reward",
    "temperature_loss": "reward",
    "temperature": "reward/nat",
    "entropy": "nats",
    "q_mean": "reward",
}
"""Name -> unit of every metric."""

JOURNALED = frozenset(
    ("env_steps", "produced", "inserted", "rejected", "discarded", "resent", "lost", "episodes")
)
"""Counters that the journal's entries restore to the last one after a crash."""

SAID = frozenset(
    (
        *("wall_s", "learner_wait_s", "actors_wait_s", "weights_version"),
        *("duplicates", "gaps", "torn", "damaged", "throttled", "malformed", "refused", "refused_actors"),
        *("evaluations", "repeated_evaluations", "uncounted_evaluations"),
        *("refused_connections", "refused_handshakes", "revoked_frames"),
        *("cut_handshakes", "cut_connections", "broken_connections"),
    )
)
"""Counters that the journal is told before anybody else is: after a crash they go on from there at least."""

RECENT_EPISODES = 100
"""Finished training episodes that the means run over."""

Values = dict[str, float | int]


class EpisodeMeans:
    """Means over the newest `RECENT_EPISODES` training episodes."""

    def __init__(self) -> None:
        self._recent: deque[Episode] = deque(maxlen=RECENT_EPISODES)

    def add(self, episodes: Iterable[Episode]) -> None:
        """Add finished episodes."""
        self._recent.extend(episodes)

    def values(self) -> Values:
        """Return the metrics called episode_*."""
        values: Values = {}
        if self._recent:
            summary = summarise(self._recent)
            values["episode_return"] = summary["mean_return"] or 0.0
            values["episode_length"] = sum(episode[1] for episode in self._recent) / len(self._recent)
            if summary["success_rate"] is not None:
                values["episode_success"] = summary["success_rate"]
        return values

    def state_dict(self) -> list[Episode]:
        """Return the episodes that the means run over."""
        return list(self._recent)

    def load_state_dict(self, state: Iterable[Episode]) -> None:
        """Go on from `state_dict()`."""
        self._recent.clear()
        self.add(state)


class MetricsLog:
    """Writes rows to `metrics.jsonl` and to TensorBoard.

    Args:
        run: the run directory; rows of an earlier start stay.

    Attributes:
        failed: rows that the disk refused.

    Raises:
        StorageError: the files cannot be opened.
    """

    def __init__(self, run: RunDirectory) -> None:
        self.failed = 0
        try:
            self._file, self._board = Appender(run.metrics), Board(run.tensorboard)
            self._file.begin_line()
        except OSError as error:
            raise StorageError(f"{error.filename or run.metrics}: {error.strerror}") from None

    def write(self, values: Mapping[str, float | int]) -> None:
        """Write one row; every name is one of `METRICS`. Training goes on without it if the disk refuses."""
        assert values.keys() <= METRICS.keys(), values.keys() - METRICS.keys()
        try:
            self._file.write(f"{json.dumps(dict(values))}\n".encode())
            self._board.write(values, int(values["env_steps"]))
        except OSError as error:
            self.failed += 1
            if self.failed == 1:
                log.error("no metrics written: %s (further rows are dropped silently)", error.strerror)

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()
