"""Many parameters as one vector, so that Adam, target networks and casts take one operation each.

In: the parameters of a network. Out: the same parameters, now views of one vector. Must not know: what
they are for.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Flat:
    """Lays parameters end to end; each goes on as a view of its part.

    Args:
        parameters: by name, float32, of one device; they keep their values and their identity.

    Attributes:
        parameters: as given.
        vector: [N], what an optimizer steps.
        values: [N], the same memory without a gradient.
        gradient: [N], that of `vector`, here from the start.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self.parameters = dict(parameters)
        self.vector = nn.Parameter(torch.cat([value.detach().flatten() for value in parameters.values()]))
        self.values = self.vector.detach()
        self.gradient = self.vector.grad = torch.zeros_like(self.values)
        for name, view in self.views(self.values).items():
            self.parameters[name].data = view

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the parts of another vector [N], in the names and shapes of the parameters."""
        parts = torch.split(vector, [value.numel() for value in self.parameters.values()])
        named = zip(self.parameters.items(), parts, strict=True)
        return {name: part.view_as(value) for (name, value), part in named}
