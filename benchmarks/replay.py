"""Sampling 256 of a million transitions: this project's replay beside torchrl's and Stable-Baselines3's.

Each side hands out a batch in the form that its learner takes: packed rows here, tensors there.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.comparison import Comparison, Threshold, Worker
from benchmarks.sac import Blank, fill
from benchmarks.workload import BATCH_SIZE, Measure, filled_replay, random_records, rate

NUM_ROWS = 1_000_000
SECONDS = 1.0


@contextmanager
def ours() -> Iterator[Measure]:
    """Yield the measure of this project's replay, memory-mapped in a file."""
    with filled_replay(NUM_ROWS) as replay:
        yield lambda: {"graspfleet": rate(lambda: len(replay.sample(BATCH_SIZE)) // BATCH_SIZE, SECONDS)}


@contextmanager
def stable_baselines3() -> Iterator[Measure]:
    """Yield the measure of Stable-Baselines3's ReplayBuffer."""
    from stable_baselines3.common.buffers import ReplayBuffer

    env = Blank()
    buffer = ReplayBuffer(NUM_ROWS, env.observation_space, env.action_space, device="cpu")
    fill(buffer)
    yield lambda: {
        "Stable-Baselines3": rate(lambda: len(buffer.sample(BATCH_SIZE).rewards) // BATCH_SIZE, SECONDS)
    }


@contextmanager
def torchrl() -> Iterator[Measure]:
    """Yield the measure of torchrl's TensorDictReplayBuffer on LazyTensorStorage, its plainest fast one."""
    import torch
    from tensordict import TensorDict
    from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer

    torch.set_num_threads(1)
    buffer = TensorDictReplayBuffer(storage=LazyTensorStorage(NUM_ROWS), batch_size=BATCH_SIZE)
    records = random_records(NUM_ROWS)
    names = ("obs", "next_obs", "action", "reward", "discount", "terminated")
    fields = {name: torch.from_numpy(np.ascontiguousarray(records[name])) for name in names}
    buffer.extend(TensorDict(fields, batch_size=[NUM_ROWS]))
    yield lambda: {"torchrl": rate(lambda: len(buffer.sample()) // BATCH_SIZE, SECONDS)}


COMPARISONS = (
    Comparison(
        "replay",
        "batches of 256 sampled from a million transitions, one core",
        "batches/s",
        1,
        (
            Worker("benchmarks.replay:ours"),
            Worker("benchmarks.replay:torchrl"),
            Worker("benchmarks.replay:stable_baselines3"),
        ),
        (Threshold("graspfleet", "torchrl", 2.0), Threshold("graspfleet", "Stable-Baselines3", 2.0)),
    ),
)
