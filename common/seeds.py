"""Random streams: one root seed a run, one independent stream for each named process in it."""

import zlib

import numpy as np


def seed_sequence(seed: int, name: str) -> np.random.SeedSequence:
    """Return the stream of the process called `name` in the run rooted at `seed`."""
    return np.random.SeedSequence(seed, spawn_key=(zlib.crc32(name.encode()),))
