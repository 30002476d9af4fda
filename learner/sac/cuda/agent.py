"""The same update as `learner.sac.agent`, K of them as one CUDA graph: what the learner runs on a GPU.

In and out: as `learner.sac.agent`. Must not know: replay, sockets, files, environments.

At these sizes a GPU waits for the host, which issues some hundred small operations an update. So K updates
are captured once, over buffers that never move, and one call repeats them:

- K batches come as one gather of the host, one pinned buffer and one asynchronous copy;
- noise is drawn within the graph, from the state's own generator;
- nothing is read back on the way: metrics stay tensors until somebody looks, the policy leaves beside the
  updates that follow.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graspfleet.common.specs import EnvSpec, Records
from graspfleet.learner.numerics.records import require_batches
from graspfleet.learner.publishing.policy_snapshot import PolicySnapshot
from graspfleet.learner.sac.agent import SAC
from graspfleet.learner.sac.cuda.device import Device


class CudaSAC:
    """Soft Actor-Critic in float32, K updates a call; its state and its numbers are those of the plain one.

    Args:
        plain: whose updates are captured.
        spec: shapes and dtypes of a transition.
        shape: K and the size of every batch.
        device: where it runs.

    Attributes:
        state: what is trained.
    """

    def __init__(self, plain: SAC, spec: EnvSpec, shape: tuple[int, int], device: Device) -> None:
        self.state = plain.state
        self._plain, self._spec, self._shape, self._device = plain, spec, shape, device
        self._batches = torch.zeros((*shape, spec.record.itemsize), dtype=torch.uint8, device=device.name)
        for optimizer in self.state.optimizers.values():
            optimizer.param_groups[0]["capturable"] = True
        self._send = device.sender(self._batches)
        untouched = deepcopy(self.state.state_dict())
        self._dispatch = device.repeatable(self._update_all, self.state.generator)
        self.state.load_state_dict(untouched)  # updates were taken with empty batches to get here
        self._metrics: Mapping[str, Tensor] = {}

    def update(self, batches: Records) -> Mapping[str, Tensor]:
        """Take one update with each of K batches; see `Algorithm`.

        Raises:
            ValueError: the batches have another dtype or shape.
        """
        require_batches(batches, self._spec, self._shape)
        self._send(torch.from_numpy(batches.view(np.uint8).reshape(self._batches.shape)))
        self._dispatch()
        self._metrics = self._captured
        return self._metrics

    def policy(self) -> PolicySnapshot:
        """Return a copy of the policy that is filled beside the updates that follow."""
        return self.state.snapshot(*self._device.fetch(self.state.published()))

    def metrics(self) -> Mapping[str, float]:
        """Return the scalars of the newest update; waits for it."""
        return {name: float(value) for name, value in self._metrics.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the training state; see `TrainingState`."""
        return self.state.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`; see `TrainingState`."""
        self.state.load_state_dict(state)

    def _update_all(self) -> None:
        for packed in self._batches:
            self._captured = self._plain.update_packed(packed)
