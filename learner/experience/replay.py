"""The replay buffer: one packed record per transition, and each frame once, in memory-mapped rings.

In: structured records, and frames. Out: batches of transitions, gathered row by row, with their frames. Must
not know: actors, networks, time.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from graspfleet.common.fields import MAX_ROWS
from graspfleet.common.observations.fields import Pixels
from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.experience.ring import Ring
from graspfleet.learner.reporting.metric import Metric

METRICS = {
    "env_steps": Metric(
        "env steps",
        "inserted so far; each env step that was not discarded becomes exactly one transition",
        "journaled",
    ),
    "relabeled": Metric("transitions", "inserted so far with another goal (`--her`)", "journaled"),
    "replay_size": Metric(
        "transitions",
        "those to sample from: the newest `--replay-capacity`; with images, without older ones whose frames"
        " have been overwritten",
    ),
    "replay_capacity": Metric("transitions", "largest possible `replay_size`"),
    "replay_bytes": Metric("bytes", "size on disk of the replay's files, allocated at the start"),
}
"""Metrics that this part measures."""

FRAMES_FILE = "frames.bin"
FRAMES_PER_TRANSITION = 1.08
"""Frames stored per transition of the capacity. An episode of T env steps has T + 1 frames, so
episodes of 13 or more env steps fill the replay; with shorter ones it holds fewer transitions."""
MIN_FRAME_LIFE = 0.5
"""Share of the stored frames that must arrive after a transition before it loses its own. A transition with
older frames is not taken, so at least a quarter of the rows to sample from have theirs."""
MAX_REDRAWS = 64
"""Attempts to replace sampled transitions without frames, before others of the batch take their places."""
SCAN_ROWS = 4096
"""Rows read at once in search of the oldest one whose frames are stored."""


def frame_capacity(capacity: int) -> int:
    """Return the number of frames kept for a capacity in transitions."""
    return int(capacity * FRAMES_PER_TRANSITION) + 1


class Sampler(Protocol):
    """A source of batches."""

    def __len__(self) -> int:
        """Return the number of transitions to sample from; 0: none yet."""

    def sample(self, *shape: int) -> Records:
        """Return transitions of a shape whose last dimension is a batch; valid until the next call.

        A call for [K, B] returns the same transitions as K calls for [B], gathered at once.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the random number generator."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from `state_dict()`."""


class Replay:
    """Samples from the newest `capacity` transitions whose frames are stored.

    Args:
        path: file of the rows; see `Ring`.
        spec: layout of a transition.
        capacity: transitions to sample from.
        rng: source of the sampled indices.

    Attributes:
        capacity: transitions to sample from.
        relabeled: relabeled transitions inserted so far.
        rows: the records.
        frames: the frames that they refer to, in a second file; None without images.

    Raises:
        ConfigError: a file cannot be created, or has another record size or capacity.
    """

    def __init__(self, path: Path, spec: EnvSpec, capacity: int, rng: np.random.Generator) -> None:
        self.capacity = capacity
        self.relabeled = 0
        self.rows = Ring(path, spec.record.itemsize, capacity, MAX_ROWS)
        self.frames: Ring | None = None
        if spec.frame_bytes:
            stored = frame_capacity(capacity)
            path = path.with_name(FRAMES_FILE)
            self.frames = Ring(path, spec.frame_bytes, stored, spec.max_batch_frames)
        self._spec, self._rng = spec, rng
        self._oldest = 0
        self._batch = np.empty((0, spec.record.itemsize), np.uint8)
        self._samples = np.empty(0, spec.sample)

    def __len__(self) -> int:
        return self.rows.count - self.oldest

    @property
    def env_steps(self) -> int:
        """Env steps inserted so far: all transitions but the relabeled ones."""
        return self.rows.count - self.relabeled

    @property
    def num_frames(self) -> int:
        """Frames inserted so far; 0 without images."""
        return 0 if self.frames is None else self.frames.count

    def restore(self, num_rows: int, num_frames: int = 0, relabeled: int = 0) -> None:
        """Set the numbers of what was inserted, after reopening the files."""
        self.rows.count, self.relabeled, self._oldest = num_rows, relabeled, 0
        if self.frames is not None:
            self.frames.count = num_frames

    @property
    def oldest(self) -> int:
        """Number of the oldest transition to sample from."""
        oldest, scanned = max(self._oldest, self.rows.oldest), 1
        while self.frames is not None and oldest < self.rows.count:
            stored = self._are_stored(self.read(oldest, min(scanned, self.rows.count - oldest)))
            oldest += int(stored.argmax()) if stored.any() else len(stored)
            if stored.any():
                break
            scanned = SCAN_ROWS
        self._oldest = oldest
        return oldest

    def _are_stored(self, records: Records) -> NDArray[np.bool_]:
        """Return a mask of the records whose frames are stored."""
        assert self.frames is not None
        stored: NDArray[np.bool_] = np.minimum(records["frame"], records["next_frame"]) >= self.frames.oldest
        return stored

    def oldest_frame(self, num_new: int) -> int:
        """Return the number of the oldest frame that a new transition may have, after `num_new` frames."""
        if self.frames is None:
            return 0
        return max(0, self.frames.count + num_new - int(MIN_FRAME_LIFE * self.frames.capacity))

    def insert(self, records: Records, frames: Pixels | None = None) -> None:
        """Append [n] transitions, n at most `MAX_ROWS`, and the new ones of their frames [m, frame_bytes]."""
        if frames is not None and self.frames is not None:
            self.frames.insert(frames)
        self.relabeled += int(np.count_nonzero(records["relabeled"]))
        self.rows.insert(records.view(np.uint8).reshape(len(records), self.rows.item_bytes))

    def read(self, start: int, count: int) -> Records:
        """Return a copy of the [count] transitions that follow the first `start` ones."""
        records: Records = self.rows.read(start, count).view(self._spec.record).reshape(-1)
        return records

    def sample(self, *shape: int) -> Records:
        """Return uniformly drawn transitions (with replacement); see `Sampler`."""
        if self._batch.shape[:-1] != shape:
            self._batch = np.empty((*shape, self.rows.item_bytes), np.uint8)
        oldest = self.oldest
        numbers = self._rng.integers(oldest, self.rows.count, size=shape)
        self.rows.take(numbers, self._batch)
        records: Records = self._batch.view(self._spec.record).reshape(shape)
        return records if self.frames is None else self._with_frames(records, oldest)

    def _with_frames(self, records: Records, oldest: int) -> Records:
        """Return sampled records with their frames; those whose frames are gone are drawn again.

        Such records lie among newer ones if an actor is so slow that others filled the ring of frames during
        one of its env steps.
        """
        assert self.frames is not None
        for _ in range(MAX_REDRAWS):
            if (stored := self._are_stored(records)).all():
                break
            numbers = self._rng.integers(oldest, self.rows.count, size=int((~stored).sum()))
            again = np.empty((len(numbers), self.rows.item_bytes), np.uint8)
            self.rows.take(numbers, again)
            records[~stored] = again.view(self._spec.record).reshape(-1)
        stored = self._are_stored(records)
        records[~stored] = np.resize(records[stored], int((~stored).sum()))
        if self._samples.shape != records.shape:
            self._samples = np.empty(records.shape, self._spec.sample)
        join_frames(records, self.frames.take, self._samples)
        return self._samples

    def metrics(self) -> Mapping[str, float]:
        """Return the env steps and relabeled transitions inserted, the number kept, and its limits."""
        return {
            "env_steps": self.env_steps,
            "relabeled": self.relabeled,
            "replay_size": len(self),
            "replay_capacity": self.capacity,
            "replay_bytes": self.rows.size_bytes + (self.frames.size_bytes if self.frames else 0),
        }

    def flush(self) -> None:
        """Write everything to disk."""
        if self.frames is not None:
            self.frames.flush()
        self.rows.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return the random number generator's state; rows are in the file, `env_steps` in the journal."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from `state_dict()`."""
        self._rng.bit_generator.state = state["rng"]


def join_frames(records: Records, take: Callable[[NDArray[np.intp], Pixels], None], samples: Records) -> None:
    """Fill samples with records and their frames.

    Args:
        records: [...] of `EnvSpec.record`.
        take: copies the frames with given numbers [...] into an array [..., frame_bytes].
        samples: [...] of `EnvSpec.sample`.
    """
    for name in records.dtype.names or ():
        samples[name] = records[name]
    for name, pixels in (("frame", "pixels"), ("next_frame", "next_pixels")):
        frames = np.empty(samples[pixels].shape, np.uint8)
        take(records[name].astype(np.intp), frames)
        samples[pixels] = frames


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

    def __len__(self) -> int:
        return len(self._online)

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
