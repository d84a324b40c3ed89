"""Random donors of the shape of others: what they give, any donors would give.

Merging adapters that were trained for something often helps no more than merging random ones
(arXiv 2602.12323, arXiv 2601.21795).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch

from hubkit.adapters.tree import Attachable, Tree

HOW = "the donors, with the numbers of each tensor of their adapters in random order"
"""How random donors are drawn, for people."""


def random_donors(donors: Sequence[Attachable], seed: int) -> list[Attachable]:
    """Donors of the same shape that know nothing.

    The numbers of each tensor of each adapter are put into random order: their scale and their
    distribution stay, and what they compute is lost. The same seed gives the same donors.

    Args:
        donors: They stay as they are.
        seed: The seed of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = [deepcopy(donor) for donor in donors]
    with torch.no_grad():
        for adapter in (one for donor in drawn for one in Tree.of(donor).adapters):
            for module in adapter.modules():
                for tensor in module.state_dict().values():
                    order = torch.randperm(tensor.numel(), generator=generator)
                    tensor.copy_(tensor.flatten()[order.to(tensor.device)].view_as(tensor))
    return drawn
