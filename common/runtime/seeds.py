"""Random streams: one root seed per run, one independent stream per process start."""

import functools
import os
import zlib
from collections.abc import Iterator

import numpy as np

HELD_OUT_ROOT = 1_000_003
"""Default root seed of `graspfleet evaluate`."""
NUM_HELD_OUT = 10_000
"""Number of episode seeds of this root that are reserved for evaluation and never used in training."""
_END = 1 << 31
"""Exclusive upper bound of seeds: every seed fits a signed 32-bit integer."""


def new_session_id() -> str:
    """Return 16 random hex digits that identify this process start."""
    return os.urandom(8).hex()


def seed_sequence(seed: int, name: str) -> np.random.SeedSequence:
    """Return the reproducible stream called `name` of the run rooted at `seed`."""
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))


def session_seeds(seed: int, session_id: str) -> np.random.SeedSequence:
    """Return the stream of one process start in the run rooted at `seed`.

    It depends on the session id only: a restarted process has another id and therefore another stream.
    """
    return np.random.SeedSequence(seed, spawn_key=(int(session_id[:8], 16), int(session_id[8:], 16)))


def draw_seeds(rng: np.random.Generator) -> Iterator[int]:
    """Yield an endless sequence of episode seeds."""
    while True:
        yield int(rng.integers(_END))


def training_seeds(rng: np.random.Generator) -> Iterator[int]:
    """Yield an endless sequence of seeds, without those reserved for evaluation."""
    held_out = held_out_seeds()
    return (seed for seed in draw_seeds(rng) if seed not in held_out)


@functools.cache
def held_out_seeds() -> frozenset[int]:
    """Return the seeds reserved for `graspfleet evaluate`."""
    rng = np.random.default_rng(seed_sequence(HELD_OUT_ROOT, "evaluate"))
    return frozenset(rng.integers(_END, size=NUM_HELD_OUT).tolist())
