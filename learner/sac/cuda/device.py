"""Devices of captured updates: CUDA, or the CPU, where nothing is captured.

Both do the same three things, so all of `learner.sac.cuda.agent` but these few calls is exercised without a
GPU.
In: tensors and work of the agent. Out: copies, and a function that repeats the work. Must not know: SAC.
"""

import warnings
from collections.abc import Callable
from itertools import cycle
from typing import Protocol

import torch
from torch import Tensor

from graspfleet.learner.publishing.policy_snapshot import Arrival

WARM_UP_UPDATES = 3
"""Runs before a capture, in which libraries set themselves up; as many as torch's documentation takes."""
NUM_PINNED = 2
"""Host buffers that batches leave from in turn: one is filled while the device reads the other."""


class Device(Protocol):
    """A device as used by `learner.sac.cuda.agent`.

    Attributes:
        name: in torch's words.
    """

    name: str

    def repeatable(self, work: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
        """Return a function that does what `work` does; until it returns, `work` may run any number of times.

        Args:
            work: always on the same tensors, without reading a number of theirs.
            generator: source of its random numbers.
        """

    def sender(self, target: Tensor) -> Callable[[Tensor], object]:
        """Return a function that copies a host tensor to `target`, in the order of the work."""

    def fetch(self, values: Tensor) -> tuple[Tensor, Arrival | None]:
        """Return a host copy of `values` as the work so far leaves them, and what tells that it is there."""


class Host:
    """The CPU."""

    name = "cpu"

    def repeatable(self, work: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
        """Return the work itself."""
        return work

    def sender(self, target: Tensor) -> Callable[[Tensor], object]:
        """Return a plain copy."""
        return target.copy_

    def fetch(self, values: Tensor) -> tuple[Tensor, Arrival | None]:
        """Return a plain copy."""
        return values.clone(), None


class Cuda:
    """The current CUDA device.

    Work and batches go to its current stream, one after the other; copies back have a stream of their own.
    """

    name = "cuda"

    def __init__(self) -> None:
        self._way_back = torch.cuda.Stream()

    def repeatable(self, work: Callable[[], None], generator: torch.Generator) -> Callable[[], None]:
        """Return the replay of a CUDA graph of the work.

        The capture is on the stream of the warm-up, as libraries keep a handle for each stream.
        """
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # Adam's, that it was made to be captured
            for _ in range(WARM_UP_UPDATES):
                work()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        with torch.cuda.graph(graph, stream=stream):
            work()
        return graph.replay

    def sender(self, target: Tensor) -> Callable[[Tensor], object]:
        """Return a copy by way of pinned buffers.

        It waits while all buffers are still to be read, so the host is at most `NUM_PINNED` copies ahead.
        """
        buffers = cycle(
            [
                (torch.empty_like(target, device="cpu", pin_memory=True), torch.cuda.Event(blocking=True))
                for _ in range(NUM_PINNED)
            ]
        )

        def send(rows: Tensor) -> None:
            buffer, read = next(buffers)
            read.synchronize()
            buffer.copy_(rows)
            target.copy_(buffer, non_blocking=True)
            read.record()

        return send

    def fetch(self, values: Tensor) -> tuple[Tensor, torch.cuda.Event]:
        """Return a pinned copy that is filled beside the work that follows, which changes `values`."""
        snapshot = values.clone()
        host = torch.empty_like(snapshot, device="cpu", pin_memory=True)
        arrived = torch.cuda.Event()
        self._way_back.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._way_back):
            host.copy_(snapshot, non_blocking=True)
            arrived.record()
        snapshot.record_stream(self._way_back)
        return host, arrived
