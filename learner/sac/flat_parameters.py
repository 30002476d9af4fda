"""Many parameters as one vector, so that Adam, target networks and casts take one operation each.

In: the parameters of a network. Out: the same parameters, now views of one vector, and Adam for it. Must not
know: networks, losses.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Flat:
    """Stores parameters end to end in one vector; each parameter becomes a view of its part.

    Args:
        parameters: float32 parameters by name, all on one device; they keep their values and their identity.

    Attributes:
        parameters: the given parameters.
        vector: [N], the parameter that an optimizer steps.
        values: [N], the same memory without a gradient.
        gradient: [N], the gradient of `vector`, allocated from the start.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)
        self.vector = nn.Parameter(torch.cat([value.detach().flatten() for value in parameters.values()]))
        self.values = self.vector.detach()
        self.gradient = self.vector.grad = torch.zeros_like(self.values)
        for name, view in self.views(self.values).items():
            self.parameters[name].data = view

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the parts of another vector [N], with the names and shapes of the parameters."""
        parts = torch.split(vector, [value.numel() for value in self.parameters.values()])
        named = zip(self.parameters.items(), parts, strict=True)
        return {name: part.view_as(value) for (name, value), part in named}


def adam(flat: Flat, learning_rate: float) -> torch.optim.Adam:
    """Return Adam for a vector, with its state, which it would otherwise create in its first step."""
    vector = flat.vector
    optimizer = torch.optim.Adam([vector], lr=learning_rate, fused=True)
    moments = {"exp_avg": torch.zeros_like(vector), "exp_avg_sq": torch.zeros_like(vector)}
    optimizer.state[vector] = {"step": torch.zeros((), device=vector.device), **moments}
    return optimizer


def step_down(loss: Tensor, flats: Sequence[Flat], optimizers: Sequence[torch.optim.Adam]) -> None:
    """Take one step of each optimizer down `loss`; no gradient is computed for other parameters."""
    gradients = iter(torch.autograd.grad(loss, [each for flat in flats for each in flat.parameters.values()]))
    for flat, optimizer in zip(flats, optimizers, strict=True):
        torch.cat([next(gradients).flatten() for _ in flat.parameters], out=flat.gradient)
        optimizer.step()


def load_adam(optimizer: torch.optim.Adam, flat: Flat, saved: Mapping[str, Any]) -> None:
    """Copy the values of an optimizer's `state_dict()` into the existing tensors."""
    for key, value in optimizer.state[flat.vector].items():
        value.copy_(saved["state"][0][key])
