"""Random streams: one root seed a run, one independent stream for each process start in it."""

import os
import zlib

import numpy as np


def new_boot_id() -> str:
    """Return 16 random hex digits that stand for this process start and for no other."""
    return os.urandom(8).hex()


def seed_sequence(seed: int, name: str) -> np.random.SeedSequence:
    """Return the fixed stream called `name` of the run rooted at `seed`, always the same one."""
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))


def boot_seeds(seed: int, boot_id: str) -> np.random.SeedSequence:
    """Return the stream of one process start in the run rooted at `seed`.

    Neither a name nor a clock goes into it: whatever starts again gets another boot id and so another stream.
    """
    return np.random.SeedSequence(seed, spawn_key=(int(boot_id[:8], 16), int(boot_id[8:], 16)))
