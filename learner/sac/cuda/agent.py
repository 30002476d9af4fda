"""The same update as `learner.sac.agent`, K of them as one CUDA graph: what the learner runs on a GPU.

In and out: as `learner.sac.agent`. Must not know: replay, sockets, files, environments.

At these sizes a GPU waits for the host, which issues some hundred small operations an update. So K updates
are captured once, over buffers that never move, and one call repeats them:

- K batches come as one gather of the host, one pinned buffer and one asynchronous copy;
- noise is drawn within the graph, from the agent's own generator;
- nothing is read back on the way: metrics stay tensors until somebody looks, the policy leaves beside the
  updates that follow.
"""

from collections.abc import Mapping
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from common.config import SACConfig
from common.specs import EnvSpec, Records
from learner.publishing.policy_snapshot import PolicySnapshot
from learner.sac.agent import SACAgent
from learner.sac.cuda.device import Device


class GraphSACAgent(SACAgent):
    """Soft Actor-Critic in float32, K updates a call; its state and its numbers are those of `SACAgent`.

    Args:
        spec: shapes and dtypes of a transition.
        config: hyperparameters; every batch has its batch_size.
        seed: of the initial weights and of every action sampled here.
        device: where it runs.
        num_updates: K.
    """

    def __init__(
        self, spec: EnvSpec, config: SACConfig, *, seed: int, device: Device, num_updates: int
    ) -> None:
        super().__init__(spec, config, seed=seed, device=device.name)
        self._device = device
        shape = (num_updates, config.batch_size, spec.record.itemsize)
        self._batches = torch.zeros(shape, dtype=torch.uint8, device=device.name)
        self._metrics: dict[str, Tensor] = {}
        for optimizer in self._optimizers.values():
            optimizer.param_groups[0]["capturable"] = True
        self._send = device.sender(self._batches)
        untouched = deepcopy(self.state_dict())
        self._dispatch = device.repeatable(self._update_all, self._generator)
        self.load_state_dict(untouched)  # updates were taken with empty batches to get here

    def update_each(self, batches: Records) -> Mapping[str, Tensor]:
        """Take one update with each of K batches.

        Args:
            batches: [K, B] of `spec.record`, contiguous; may be overwritten when this returns.

        Returns:
            Those of the last update; the next call overwrites them.

        Raises:
            ValueError: the batches have another dtype or shape.
        """
        record, shape = self._spec.record, tuple(self._batches.shape[:2])
        if batches.dtype != record or batches.shape != shape:
            raise ValueError(f"expected {shape} of {record}, not {batches.shape} of {batches.dtype}")
        self._send(torch.from_numpy(batches.view(np.uint8).reshape(self._batches.shape)))
        self._dispatch()
        return self._metrics

    def update(self, batch: Records) -> Mapping[str, Tensor]:
        """Take one update; K must be 1."""
        return self.update_each(batch[None])

    def copy_policy(self) -> PolicySnapshot:
        """Return a copy of the policy that is filled beside the updates that follow."""
        return self._policy_snapshot(*self._device.fetch(self._vectors()))

    def _update_all(self) -> None:
        for packed in self._batches:
            self._metrics = self._update(packed)
