"""Rows that need a GPU bow out without one."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from benchmarks import gpu
from benchmarks.workload import UnavailableError


@pytest.mark.parametrize("side", [partial(gpu.captured, 16), gpu.eager])
def test_without_a_gpu_a_side_says_so(monkeypatch: pytest.MonkeyPatch, side: Callable[[], Any]) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UnavailableError, match="no CUDA device"), side():
        pass
