"""AdapterFusion at inference time, without a single ``d x d`` product.

The fusion layer asks with ``Q = Wq q + bq``, scores with ``Q . (Wk z_n + bk)``, and gives
``Wv sum_n p_n z_n``. The deltas ``z_n`` are linear in their bottlenecks through one matrix ``A``
(``nn/joined.py``), so that both products with ``d x d`` matrices can be made once, beforehand::

    S = (Wk A)^T Wq     (R + N, d)      t = (Wk A)^T bq     (R + N)      V = Wv A     (d, R + N)

Split ``S q + t`` into ``y_1, ..., y_N`` (``r_n`` numbers each) and ``e_1, ..., e_N`` (one each)::

    score_n = a_n . y_n + e_n           p = softmax(score)
    result  = V [p_1 a_1, ..., p_N a_N, p_1, ..., p_N]

The key's bias shifts all scores alike, so the softmax cancels it. Where the deltas read what the
query reads, the ``D_n`` and ``S`` are one matrix of ``2 R + N`` rows, and a token costs
``(3 R + 2 N) d`` multiplications in place of ``(3 d + 3 R) d``.

A folded fusion holds products of the weights as they were; ``nn/foldable.py`` says when to use one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from hubkit.methods.method import Reads
from hubkit.nn.delta import Delta
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.joined import Inputs, JoinedDeltas


class Folded:
    """A fusion of deltas in its folded form, as the module's docstring writes it.

    Args:
        deltas: The adapters' deltas.
        layer: The fusion layer over them.
        reads: The input of the query.

    Example:
        >>> folded = Folded(deltas, layer, "norm")  # once
        >>> folded(reading)  # what layer.over(deltas, reading, "norm") gives, up to rounding
    """

    @torch.no_grad()
    def __init__(self, deltas: Sequence[Delta], layer: FusionLayer, reads: Reads) -> None:
        dtype = layer.query.weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        joined = JoinedDeltas(deltas, reads, wide)
        keys = (layer.key.weight.to(wide) @ joined.matrix).T
        if layer.temperature != 1.0:
            keys = keys / layer.temperature
        query = (keys @ layer.query.weight.to(wide)).to(dtype)  # S
        query_bias = (keys @ layer.query.bias.to(wide)).to(dtype)  # t
        if layer.value is not None:
            joined.matrix = layer.value.weight.to(wide) @ joined.matrix
        self._value = joined.matrix.to(dtype)  # V
        self._joined = joined

        weights, biases = [query], [query_bias]
        if joined.downs[0][0] == reads:
            _, down, bias = joined.downs[0]
            weights.insert(0, down)
            biases.insert(0, down.new_zeros(len(down)) if bias is None else bias)
        self._rows = torch.cat(weights)
        self._row_biases = torch.cat(biases)
        self._split = [len(self._rows) - len(query), len(query)]

    def __call__(self, inputs: Inputs) -> Tensor:
        """What the fusion adds at the site. *Shape:* ``(..., d)``."""
        rows = linear(inputs.read(self._joined.reads), self._rows, self._row_biases)
        own, asked = torch.split_with_sizes(rows, self._split, dim=-1)
        wide = torch.promote_types(rows.dtype, torch.float32)
        bottlenecks = self._joined.bottlenecks(inputs, own if self._split[0] else None).to(wide)
        weights, _ = self._joined.attend(bottlenecks, asked.to(wide))
        return linear(weights.to(rows.dtype), self._value)
