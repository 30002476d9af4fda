"""The largest numbers that a batch may hold leave every weight finite."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from graspfleet.common.specs import MAX_MAGNITUDE
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.settings import SACConfig
from tests.fakes import SPEC

BATCH_SIZE = 32


def tensors(state: Any) -> Iterator[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        yield state
    elif isinstance(state, dict | list | tuple):
        for value in state.values() if isinstance(state, dict) else state:
            yield from tensors(value)


def diverges(magnitude: float) -> bool:
    """Return whether a network learns anything but numbers from batches of such values."""
    rng = np.random.default_rng(0)
    agent = SAC(SPEC, SACConfig(hidden_dim=32), seed=0)
    for _ in range(100):
        records = np.zeros(BATCH_SIZE, SPEC.record)
        for name in ("obs", "next_obs", "reward"):
            records[name] = rng.choice([-magnitude, magnitude, 0, 1], size=records[name].shape)
        records["discount"] = rng.choice([0, SPEC.discount, 1], BATCH_SIZE)
        agent.update(records[None])
    return not all(torch.isfinite(tensor.float()).all() for tensor in tensors(agent.state_dict()))


def test_the_largest_numbers_allowed_leave_every_weight_finite() -> None:
    assert not diverges(MAX_MAGNITUDE)
    assert diverges(3e38)  # what the limit is for
