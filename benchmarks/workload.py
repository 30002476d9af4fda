"""Common parts of several rows: a 32-d observation, a 4-d action, a clock, and the way to skip a row."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from graspfleet.common.fields import MAX_ROWS
from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.experience.replay import Replay

SPEC = EnvSpec(env="Bench-v0", obs_dim=32, action_dim=4, discount=0.99, n_step=1)
BATCH_SIZE = 256
Measure = Callable[[], dict[str, float]]
"""Measures once; returns figures by name."""


class UnavailableError(Exception):
    """A side cannot be measured here; the message says why."""


def random_records(count: int, seed: int = 0) -> Records:
    """Return [count] transitions of random numbers, none of them terminal."""
    rng = np.random.default_rng(seed)
    records = np.zeros(count, SPEC.record)
    for name in ("obs", "next_obs"):
        records[name] = rng.standard_normal(records[name].shape, dtype=np.float32)
    records["action"] = rng.uniform(-1, 1, records["action"].shape)
    records["reward"] = rng.standard_normal(count)
    records["discount"] = SPEC.discount
    return records


@contextmanager
def filled_replay(num_rows: int) -> Iterator[Replay]:
    """Yield a replay full of random transitions, memory-mapped in a file."""
    with tempfile.TemporaryDirectory() as folder:
        replay = Replay(Path(folder) / "replay", SPEC, num_rows, np.random.default_rng(0))
        for part in np.split(random_records(num_rows), range(MAX_ROWS, num_rows, MAX_ROWS)):
            replay.insert(part)
        yield replay


def rate(work: Callable[[], int], seconds: float, finish: Callable[[], object] = int) -> float:
    """Return how much `work` does a second, as it counts it, over at least `seconds`.

    Args:
        work: does some and returns how much.
        seconds: for how long it is called.
        finish: waits, within the time, for what was begun and is not done.
    """
    done, began_s = 0, time.perf_counter()
    while time.perf_counter() - began_s < seconds:
        done += work()
    finish()
    return done / (time.perf_counter() - began_s)
