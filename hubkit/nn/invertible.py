"""The invertible adapter of MAD-X (Pfeiffer et al. 2020, arXiv 2005.00052), a NICE coupling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hubkit.methods.method import CouplingForm
from hubkit.nn.batch import Rows
from hubkit.nn.delta import activation, draw


class Coupling(nn.Module):
    """A map of embeddings that can be undone exactly (NICE: Dinh et al. 2014, arXiv 1410.8516).

    The vector is split in halves, ``x = [x1, x2]``. ``y1 = x1 + F(x2)``, ``y2 = x2 + G(y1)``; the
    inverse is ``x2 = y2 - G(y1)``, ``x1 = y1 - F(x2)``. ``F`` and ``G`` are two linear layers with
    an activation between them. The embeddings go through it, and what the language model's head is
    given goes through its inverse, since the head has the same weights as the embeddings.

    Args:
        width: The size of the vectors.
        form: The activation between the layers, and the width of their input over that between
            them.

    Raises:
        AdapterError: The activation is unknown.

    Example:
        >>> coupling = Coupling(768, CouplingForm("relu", reduction_factor=2))
        >>> x = torch.randn(16, 128, 768)
        >>> torch.allclose(coupling.inverse(coupling(x)), x, atol=1e-5)
        True
    """

    def __init__(self, width: int, form: CouplingForm) -> None:
        super().__init__()
        self.width = width
        first, second = width // 2, width - width // 2
        self.undone = form.undone
        self.activation = activation(form.activation)
        self.F = _network(second, first, form)
        self.G = _network(first, second, form)

    def forward(self, x: Tensor) -> Tensor:
        """The map. *Shape:* ``(..., width)``, as ``x``."""
        x1, x2 = self._halves(x)
        y1 = x1 + self._between(self.F, x2)
        return torch.cat([y1, x2 + self._between(self.G, y1)], dim=-1)

    def inverse(self, y: Tensor) -> Tensor:
        """The inverse map. *Shape:* ``(..., width)``, as ``y``."""
        y1, y2 = self._halves(y)
        x2 = y2 - self._between(self.G, y1)
        return torch.cat([y1 - self._between(self.F, x2), x2], dim=-1)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        half = x.shape[-1] // 2
        return x[..., :half], x[..., half:]

    def _between(self, layers: nn.ModuleList, x: Tensor) -> Tensor:
        x = layers[0](x)
        result: Tensor = layers[1](x if self.activation is None else self.activation(x))
        return result


def _network(inputs: int, outputs: int, form: CouplingForm) -> nn.ModuleList:
    between = max(1, int(inputs // form.reduction_factor))
    layers = [nn.Linear(inputs, between), nn.Linear(between, outputs)]
    for layer in layers:
        draw(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.ModuleList(layers)


class CouplingNode(nn.Module):
    """The couplings of a composition, one after the other; for each row its own in a batch.

    Args:
        chains: For each entry of the batch, or for the one composition, its couplings in order;
            under None, those of the rows without an entry.
        rows: Which entry each row uses; None where all rows go through the only chain.
    """

    def __init__(self, chains: Mapping[int | None, Sequence[Coupling]], rows: Rows | None) -> None:
        super().__init__()
        self.chains = nn.ModuleList([nn.ModuleList(chain) for chain in chains.values()])
        self.rows = rows
        self._places = {number: place for place, number in enumerate(chains)}

    def forward(self, x: Tensor, *, inverse: bool = False) -> Tensor:
        """Map embeddings, or undo it. *Shape:* ``(batch, ..., width)``, as ``x``."""
        if self.rows is None:
            return self._through(0, x, inverse)
        groups: dict[int | None, list[int]] = {}
        for row, number in enumerate(self.rows.of(len(x))):
            place = self._places.get(number)
            groups.setdefault(place, []).append(row)
        mapped = []
        for place, members in groups.items():
            part = x[torch.tensor(members, device=x.device)]
            mapped.append(part if place is None else self._through(place, part, inverse))
        order = [row for members in groups.values() for row in members]
        return torch.cat(mapped)[torch.tensor(order, device=x.device).argsort()]

    def _through(self, place: int, x: Tensor, inverse: bool) -> Tensor:
        chain: Any = self.chains[place]
        for coupling in reversed(chain) if inverse else chain:
            if not inverse:
                x = coupling(x)
            elif coupling.undone:
                x = coupling.inverse(x)
        return x
