"""Tensors from an environment are read like arrays; the tests of the actor need no torch."""

from typing import Any

import numpy as np
import pytest
import torch

from graspfleet.actor.success import SuccessReader
from tests.actor.misbehaving_envs import OwnBuffer
from tests.actor.test_contract import STILL, check, check_rows, first, make, rewards


class Tensors(OwnBuffer):
    """Returns tensors that share the memory it fills anew."""

    def observe(self) -> Any:
        return torch.from_numpy(super().observe())


@pytest.mark.parametrize("n_step", [1, 3])
def test_tensors_that_share_memory_are_copied(n_step: int) -> None:
    check_rows(Tensors, n_step)


def test_a_tensor_with_a_gradient_is_refused_in_one_line() -> None:
    refusal = check(first(torch.zeros(3, requires_grad=True)))
    assert "Tensor" in refusal
    assert "grad" in refusal
    assert "\n" not in refusal


def test_a_reward_of_shape_1_is_refused() -> None:
    assert "a number" in check(rewards(torch.ones(1)))


def test_a_tensor_is_an_observation() -> None:
    obs = make(first(torch.tensor([1.0, 2.0, 3.0]))).reset(0).vector
    assert (obs.dtype, obs.tolist()) == (np.float32, [1, 2, 3])


def test_a_scalar_tensor_is_a_reward() -> None:
    env = make(rewards(torch.tensor(1.0)))
    env.reset(0)
    reward = env.step(STILL)[1]
    assert (reward, type(reward)) == (1.0, float)


def test_a_scalar_tensor_is_a_success(caplog: pytest.LogCaptureFixture) -> None:
    assert SuccessReader("is_success")({"is_success": torch.tensor(False)}) is False
    assert SuccessReader("done_well")({"done_well": torch.ones(1)}) is None
    assert len(caplog.messages) == 1
