"""Many parameters as one vector, so that Adam, target networks and casts take one operation each.

In: the parameters of a network. Out: the same parameters, now views of one vector. Must not know: networks,
losses.
"""

from collections.abc import Mapping

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
