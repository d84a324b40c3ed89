"""AdapterFusion: attention over adapters (Pfeiffer et al. 2021, arXiv 2005.00247)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Fused(NamedTuple):
    """What a fusion layer returns.

    ``delta`` is what is added at the site, *shape* ``(..., d)``; ``attention`` is the weight of
    each adapter, *shape* ``(..., N)``, float32 or wider, and sums to one.
    """

    delta: Tensor
    attention: Tensor


class FusionLayer(nn.Module):
    """Attention, at one site, of the hidden state over the deltas of ``N`` adapters.

    With the query input ``x`` and the deltas ``z_n``: ``Q = Wq x + bq``,
    ``s_n = Q . (Wk z_n + bk)`` (one head, no scaling), ``p = softmax(s)``, and the result is
    ``Wv sum_n p_n z_n``.

    The layer is computed re-associated: ``Wk`` multiplies the query once in place of ``N`` deltas,
    and ``Wv`` multiplies their sum, which is the same function for ``3 d**2`` instead of
    ``(2 N + 1) d**2`` multiplications.

    Args:
        hidden_size: The width ``d``.
        value: False leaves out ``Wv`` (the "static" variant of the AdapterHub library).
    """

    def __init__(self, hidden_size: int, *, value: bool = True) -> None:
        super().__init__()
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size, bias=False) if value else None
        for projection in (self.query, self.key):
            nn.init.normal_(projection.weight, std=0.02)
            nn.init.zeros_(projection.bias)
        if self.value is not None:
            # Near the identity: a new fusion starts as a weighted sum of its adapters.
            nn.init.constant_(self.value.weight, 1e-6)
            self.value.weight.data.fill_diagonal_(1.0)

    def forward(self, x: Tensor, deltas: Tensor) -> Fused:
        """Attend from ``x`` over ``deltas``.

        Args:
            x: The query input. *Shape:* ``(..., d)``.
            deltas: One delta for each adapter. *Shape:* ``(..., N, d)``.
        """
        query = self.query(x)
        # |Q| is not normalised, so scores in half precision would overflow or tie.
        wide = torch.promote_types(deltas.dtype, torch.float32)
        # A product and a sum: on a CPU, twice as fast as a matrix product for each token.
        folded_query = (query @ self.key.weight).to(wide).unsqueeze(-2)
        scores = (folded_query * deltas.to(wide)).sum(-1)
        # The softmax cancels this shift. It keeps the key's bias in the graph, with its true
        # gradient of zero, so that distributed training finds no unused parameter.
        scores = scores + (query.to(wide) @ self.key.bias.to(wide)).unsqueeze(-1)
        attention = torch.softmax(scores, dim=-1)
        mixed = (attention.to(deltas.dtype).unsqueeze(-1) * deltas).sum(-2)
        return Fused(mixed if self.value is None else self.value(mixed), attention)

    def regularization(self) -> Tensor:
        """``0.01 * ||I - Wv||**2``, the paper's regulariser. *Shape:* ``()``."""
        if self.value is None:
            return self.query.weight.new_zeros(())
        weight = self.value.weight
        identity = torch.eye(len(weight), device=weight.device, dtype=weight.dtype)
        return 0.01 * (identity - weight).square().sum()
