"""What several rows have in common: a 32-d observation, a 4-d action, a clock, and how to bow out."""

import time
from collections.abc import Callable

import numpy as np

from common.specs import EnvSpec, Records

SPEC = EnvSpec("Bench-v0", obs_dim=32, action_dim=4, discount=0.99, n_step=1)
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


def rate(work: Callable[[], int], seconds: float) -> float:
    """Return how much `work` does a second, as it counts it, over at least `seconds`."""
    done, began_s = 0, time.perf_counter()
    while (passed_s := time.perf_counter() - began_s) < seconds:
        done += work()
    return done / passed_s
