"""The replay buffer: one packed record per transition, in a memory-mapped ring.

In: structured records. Out: batches of them, gathered row by row. Shapes are known only through the record's
dtype. Must not know: actors, networks, time.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from graspfleet.common.errors import ConfigError
from graspfleet.common.fields import MAX_ROWS
from graspfleet.common.runtime.files import open_own
from graspfleet.common.specs import Records
from graspfleet.learner.reporting.metric import Metric

METRICS = {
    "env_steps": Metric(
        "env steps",
        "transitions inserted so far; each env step that was not discarded becomes exactly one",
        "journaled",
    ),
    "replay_size": Metric("transitions", "min(`env_steps`, `--replay-capacity`)"),
}
"""Metrics that this part measures."""

ZEROS_BYTES = 1 << 20
"""Bytes per write where the system has no call that reserves a file's space."""


class Sampler(Protocol):
    """A source of batches."""

    def sample(self, *shape: int) -> Records:
        """Return transitions of a shape whose last dimension is a batch; valid until the next call.

        A call for [K, B] returns the same transitions as K calls for [B], gathered at once.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random number generator."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from `state_dict()`."""


class Replay:
    """Ring in a file that samples from the newest `capacity` transitions; the oldest are overwritten.

    The file is allocated in full at the start, so that a full disk is an error then and not a SIGBUS in the
    middle of a run. It may be larger than memory. It has room for one batch beyond `capacity`, so that a
    batch whose write was interrupted lies outside the sampled range.

    Args:
        path: the file; an existing one of the same size is reopened.
        record: dtype of one transition.
        capacity: transitions to sample from.
        rng: source of the sampled indices.

    Raises:
        ConfigError: the file cannot be created, or has another record size or capacity.
    """

    def __init__(
        self, path: Path, record: np.dtype[np.void], capacity: int, rng: np.random.Generator
    ) -> None:
        self._ring_rows = capacity + MAX_ROWS
        _allocate(path, record.itemsize * self._ring_rows)
        self._file = np.memmap(path, dtype=np.uint8, mode="r+", shape=(self._ring_rows, record.itemsize))
        self._rows = self._file.view(np.ndarray)  # the same memory; slicing a memmap costs several times more
        self._record = record
        self._rng = rng
        self._batch = np.empty((0, record.itemsize), np.uint8)
        self.capacity = capacity
        self.env_steps = 0

    def __len__(self) -> int:
        return min(self.env_steps, self.capacity)

    def insert(self, records: Records) -> None:
        """Append [n] transitions, n at most `MAX_ROWS`."""
        rows = records.view(np.uint8).reshape(len(records), self._record.itemsize)
        start = self.env_steps % self._ring_rows
        head = min(len(rows), self._ring_rows - start)
        self._rows[start : start + head] = rows[:head]
        self._rows[: len(rows) - head] = rows[head:]
        self.env_steps += len(rows)

    def read(self, start: int, count: int) -> Records:
        """Return a copy of the [count] transitions that follow the first `start` ones."""
        places = np.arange(start, start + count) % self._ring_rows
        records: Records = self._rows[places].view(self._record).reshape(-1)
        return records

    def sample(self, *shape: int) -> Records:
        """Return uniformly drawn transitions (with replacement); see `Sampler`."""
        if self._batch.shape[:-1] != shape:
            self._batch = np.empty((*shape, self._record.itemsize), np.uint8)
        places = self._rng.integers(self.env_steps - len(self), self.env_steps, size=shape)
        places %= self._ring_rows
        np.take(self._rows, places, axis=0, out=self._batch, mode="clip")
        return self._batch.view(self._record).reshape(shape)

    def metrics(self) -> Mapping[str, float]:
        """Return the transitions inserted so far, and the number kept."""
        return {"env_steps": self.env_steps, "replay_size": len(self)}

    def flush(self) -> None:
        """Write everything to disk."""
        self._file.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the random number generator's state; rows are in the file, `env_steps` in the journal."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from `state_dict()`."""
        self._rng.bit_generator.state = state["rng"]


class Mixture:
    """Batches with a fixed share of demonstrations.

    Args:
        online: transitions of the actors.
        demos: the demonstrations.
        demo_fraction: share of demonstrations in a batch, rounded to whole transitions.
    """

    def __init__(self, online: Sampler, demos: Sampler, demo_fraction: float) -> None:
        self._online = online
        self._demos = demos
        self._demo_fraction = demo_fraction

    def sample(self, *shape: int) -> Records:
        """Return transitions, demonstrations last in each batch; see `Sampler`."""
        *batches, batch_size = shape
        from_demos = round(batch_size * self._demo_fraction)
        parts = []
        if from_demos < batch_size:
            parts.append(self._online.sample(*batches, batch_size - from_demos))
        if from_demos:
            parts.append(self._demos.sample(*batches, from_demos))
        return np.concatenate(parts, axis=-1)

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both sources' random number generators."""
        return {**self._online.state_dict(), "demos": self._demos.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from `state_dict()`, or from the online source's if demonstrations are new."""
        self._online.load_state_dict(state)
        if "demos" in state:
            self._demos.load_state_dict(state["demos"])


def _allocate(path: Path, size_bytes: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_own(path, os.O_RDWR | os.O_CREAT)
        try:
            existing = os.fstat(descriptor).st_size
            if existing not in (0, size_bytes):
                raise ConfigError(
                    f"{path}: holds {existing} bytes; allowed: {size_bytes} (--replay-capacity changed?)"
                )
            _fill(descriptor, existing, size_bytes)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(
            f"--run-dir: cannot keep a replay of {size_bytes:,} bytes in {path}: {error.strerror}"
        ) from None


def _fill(descriptor: int, existing: int, size_bytes: int) -> None:
    """Reserve the file's whole space on disk, so that a full disk is an error before training starts."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
        return
    zeros = bytes(ZEROS_BYTES)
    for start in range(existing, size_bytes, ZEROS_BYTES):
        os.pwrite(descriptor, zeros[: size_bytes - start], start)
