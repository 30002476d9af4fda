"""Rows of metrics on disk, in `metrics.jsonl` and for TensorBoard."""

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
        run: the run directory; rows of earlier starts are kept.
        declared: all metrics that a row may hold.

    Attributes:
        failed: number of rows that could not be written.

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
        """Write one row of declared metrics; a failed write does not stop training."""
        assert values.keys() <= self._declared.keys(), values.keys() - self._declared.keys()
        try:
            self._file.write(f"{json.dumps(dict(values))}\n".encode())
            self._board.write(values, int(values["env_steps"]))
        except OSError as error:
            self.failed += 1
            if self.failed == 1:
                log.error("metrics not written: %s (further failures are not logged)", error.strerror)

    def close(self) -> None:
        """Close both files."""
        self._file.close()
        self._board.close()
