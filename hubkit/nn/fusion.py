"""AdapterFusion: attention over adapters (Pfeiffer et al. 2021, arXiv 2005.00247)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hubkit.methods.method import Reads, is_finite
from hubkit.nn.delta import Delta, draw
from hubkit.nn.joined import Inputs, JoinedDeltas
from registry.errors import CompositionError, did_you_mean

ValueInit = Literal["identity", "random"]
"""How a value matrix starts."""


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
        size: The width ``d`` of the deltas.
        query_size: The width of the query input; default: ``size``.
        value: False leaves out ``Wv`` (the "static" variant of the AdapterHub library).
        value_init: How ``Wv`` starts: ``identity``, as in the paper, so that a new fusion is a
            weighted sum of its adapters; or ``random``, N(0, 0.02 ** 2) like ``Wq`` and ``Wk``
            (AdapterHub's ``value_initialized: false``).
        regularization: What ``||I - Wv||**2`` counts in the loss; 0 leaves it out.
        temperature: What the scores are divided by before the softmax, a number over 0: above 1,
            attention is more even, and its gradient smaller.

    Raises:
        CompositionError: One of them is out of range.

    Example:
        >>> layer = FusionLayer(768)
        >>> x, deltas = torch.randn(16, 128, 768), torch.randn(16, 128, 3, 768)
        >>> fused = layer(x, deltas)
        >>> fused.delta.shape, fused.attention.shape
        (torch.Size([16, 128, 768]), torch.Size([16, 128, 3]))
    """

    def __init__(
        self,
        size: int,
        query_size: int | None = None,
        *,
        value: bool = True,
        value_init: ValueInit = "identity",
        regularization: float = 0.01,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        if value_init not in get_args(ValueInit):
            raise CompositionError(
                f"A value matrix starts at {' or '.join(get_args(ValueInit))}, not {value_init!r}."
                f"{did_you_mean(str(value_init), get_args(ValueInit))}"
            )
        if not (is_finite(regularization) and regularization >= 0):
            raise CompositionError(
                f"The regulariser of a fusion counts 0 or more, not {regularization!r}."
            )
        if not (is_finite(temperature) and temperature > 0):
            raise CompositionError(
                f"The temperature of a fusion is a number over 0, not {temperature!r}."
            )
        self.penalty = regularization
        self.temperature = temperature
        self.query = nn.Linear(size if query_size is None else query_size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size, bias=False) if value else None
        for projection in (self.query, self.key):
            draw(projection.weight)
            nn.init.zeros_(projection.bias)
        if self.value is not None and value_init == "random":
            draw(self.value.weight)
        elif self.value is not None:
            nn.init.constant_(self.value.weight, 1e-6)
            self.value.weight.data.fill_diagonal_(1.0)

    def forward(self, x: Tensor, deltas: Tensor) -> Fused:
        """Attend from ``x`` over ``deltas``, whatever has computed them.

        Args:
            x: The query input. *Shape:* ``(..., query_size)``.
            deltas: One delta for each adapter. *Shape:* ``(..., N, d)``.
        """
        asked, shift = self._ask(x)
        wide = torch.promote_types(asked.dtype, torch.float32)
        # A product and a sum: on a CPU, twice as fast as a matrix product for each token.
        scores = (asked.to(wide).unsqueeze(-2) * deltas.to(wide)).sum(-1) + shift
        attention = torch.softmax(scores, dim=-1)
        mixed = (attention.to(deltas.dtype).unsqueeze(-1) * deltas).sum(-2)
        return Fused(self._valued(mixed), attention)

    def over(self, deltas: Sequence[Delta], inputs: Inputs, reads: Reads) -> Tensor:
        """The same function of plain deltas, without a tensor of *shape* ``(..., N, d)``.

        Training takes this form: a tenth as much has to be kept for the backward pass.

        Args:
            deltas: Those of the ``N`` adapters.
            inputs: The site.
            reads: The input of the query.
        """
        joined = JoinedDeltas(deltas, reads)
        asked, shift = self._ask(inputs.read(reads))
        wide = torch.promote_types(asked.dtype, torch.float32)
        bottlenecks = joined.bottlenecks(inputs)
        columns = linear(asked, joined.matrix.T).to(wide)
        weights, _ = joined.attend(bottlenecks.to(wide), columns, shift)
        return self._valued(linear(weights.to(bottlenecks.dtype), joined.matrix))

    def regularization(self) -> Tensor:
        """``0.01 * ||I - Wv||**2``, or with another factor. *Shape:* ``()``.

        The paper has this regulariser, and AdapterHub's library the factor.
        """
        if self.value is None or not self.penalty:
            return self.query.weight.new_zeros(())
        weight = self.value.weight
        identity = torch.eye(len(weight), device=weight.device, dtype=weight.dtype)
        return self.penalty * (identity - weight).square().sum()

    def _ask(self, x: Tensor) -> tuple[Tensor, Tensor | float]:
        """``Wk^T Q``, *shape* ``(..., d)``, and ``Q . bk``, *shape* ``(..., 1)``.

        Scores are float32 or wider: |Q| is not normalised, so in half precision they would overflow
        or tie. The softmax cancels ``Q . bk``. It is there while ``bk`` is trained, to keep it in
        the graph with its true gradient of zero: distributed training wants no unused parameter.
        """
        query = self.query(x)
        if self.temperature != 1.0:
            query = query / self.temperature
        shift: Tensor | float = 0.0
        if self.key.bias.requires_grad:
            wide = torch.promote_types(query.dtype, torch.float32)
            shift = (query.to(wide) * self.key.bias.to(wide)).sum(-1, keepdim=True)
        return query @ self.key.weight, shift

    def _valued(self, mixed: Tensor) -> Tensor:
        return mixed if self.value is None else self.value(mixed)
