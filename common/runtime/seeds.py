"""Random streams: one root seed a run, one independent stream for each process start in it."""

import functools
import os
import zlib
from collections.abc import Iterator

import numpy as np

HELD_OUT_ROOT = 1_000_003
"""Root of the seeds that `graspfleet evaluate` takes unless it is told another one."""
NUM_HELD_OUT = 10_000
"""So many of its first seeds are never used in training."""
_END = 1 << 31
"""Seeds lie below it: what takes a signed 32-bit integer takes them all."""


def new_session_id() -> str:
    """Return 16 random hex digits that stand for this process start and for no other."""
    return os.urandom(8).hex()


def seed_sequence(seed: int, name: str) -> np.random.SeedSequence:
    """Return the fixed stream called `name` of the run rooted at `seed`, always the same one."""
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))


def session_seeds(seed: int, session_id: str) -> np.random.SeedSequence:
    """Return the stream of one process start in the run rooted at `seed`.

    Neither a name nor a clock goes into it: a process that starts again has another session id and so another
    stream.
    """
    return np.random.SeedSequence(seed, spawn_key=(int(session_id[:8], 16), int(session_id[8:], 16)))


def draw_seeds(rng: np.random.Generator) -> Iterator[int]:
    """Yield seeds of episodes without end."""
    while True:
        yield int(rng.integers(_END))


def training_seeds(rng: np.random.Generator) -> Iterator[int]:
    """Yield seeds without end, none of those that a run is evaluated on afterwards."""
    held_out = held_out_seeds()
    return (seed for seed in draw_seeds(rng) if seed not in held_out)


@functools.cache
def held_out_seeds() -> frozenset[int]:
    """Return the first seeds of `graspfleet evaluate`."""
    rng = np.random.default_rng(seed_sequence(HELD_OUT_ROOT, "evaluate"))
    return frozenset(rng.integers(_END, size=NUM_HELD_OUT).tolist())
