"""Scalars for TensorBoard, written in its event format row by row.

`torch.utils.tensorboard` writes from a thread of its own, which dies with a traceback when the disk is full.
"""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

from graspfleet.learner.storage.appender import Appender


class Board:
    """One event file, new for each start of a learner.

    Args:
        folder: folder of the run's event files.

    Raises:
        OSError: the file cannot be created.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = Appender(folder / name)
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")

    def write(self, values: Mapping[str, float | int], step: int) -> None:
        """Append all values of one step.

        Raises:
            OSError: the write failed; the file still ends with the previous record.
        """
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(step=step, summary=Summary(value=scalars))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, **content: object) -> None:
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
