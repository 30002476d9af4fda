"""Rows of metrics on disk: `metrics.jsonl`, and TensorBoard."""

import json
import logging
from collections.abc import Mapping

from graspfleet.common.errors import StorageError
from graspfleet.common.runtime.run_directory import RunDirectory
from graspfleet.learner.reporting.board import Board
from graspfleet.learner.reporting.metric import Metrics
from graspfleet.learner.storage.appender import Appender

log = logging.getLogger(__name__)


class MetricsLog:
    """Writes rows to `metrics.jsonl` and to TensorBoard.

    Args:
        run: the run directory; rows of an earlier start stay.
        declared: every metric that a row may hold.

    Attributes:
        failed: rows that the disk refused.

    Raises:
        StorageError: the files cannot be opened.
    """

    def __init__(self, run: RunDirectory, declared: Metrics) -> None:
        self.failed = 0
        self._declared = declared
        try:
            self._file, self._board = Appender(run.metrics), Board(run.tensorboard)
            self._file.begin_line()
        except OSError as error:
            raise StorageError(f"{error.filename or run.metrics}: {error.strerror}") from None

    def write(self, values: Mapping[str, float]) -> None:
        """Write one row of declared metrics. Training goes on without it if the disk refuses."""
        assert values.keys() <= self._declared.keys(), values.keys() - self._declared.keys()
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
