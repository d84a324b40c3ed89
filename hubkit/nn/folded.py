"""AdapterFusion at inference time, without a single ``d x d`` product.

Adapter ``n`` of ``N`` has the bottleneck ``a_n = act_n(D_n x_n + b_n)``, of width ``r_n``, and the
delta ``z_n = s_n (U_n a_n + c_n)``; write ``R`` for the sum of the ``r_n``. All of them together
are linear in the bottlenecks, through one matrix of *shape* ``(d, R + N)``::

    A = [s_1 U_1, ..., s_N U_N, s_1 c_1, ..., s_N c_N]

The fusion layer asks with ``Q = Wq q + bq``, scores with ``Q . (Wk z_n + bk)``, and gives
``Wv sum_n p_n z_n``. Both of its products with ``d x d`` matrices can be made once, beforehand::

    S = (Wk A)^T Wq     (R + N, d)      t = (Wk A)^T bq     (R + N)      V = Wv A     (d, R + N)

Split ``S q + t`` into ``y_1, ..., y_N`` (``r_n`` numbers each) and ``e_1, ..., e_N`` (one each)::

    score_n = a_n . y_n + e_n           p = softmax(score)
    result  = V [p_1 a_1, ..., p_N a_N, p_1, ..., p_N]

The key's bias shifts all scores alike, so the softmax cancels it. Where the deltas read what the
query reads, the ``D_n`` and ``S`` are one matrix of ``2 R + N`` rows, and a token costs
``(3 R + 2 N) d`` multiplications in place of ``(3 d + 2 R) d``.

A folded fusion holds products of the weights as they were; ``nn/foldable.py`` says when to use one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hubkit.nn.delta import Delta
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.methods import Reads


class Inputs(Protocol):
    """What a site gives to read."""

    def read(self, reads: Reads) -> Tensor:
        """The tensor that ``reads`` names. *Shape:* ``(..., d)``."""


class Folded:
    """A fusion of deltas in its folded form, as the module's docstring writes it.

    Args:
        deltas: The adapters' deltas.
        layer: The fusion layer over them.
        reads: What the query reads.
    """

    @torch.no_grad()
    def __init__(self, deltas: Sequence[Delta], layer: FusionLayer, reads: Reads) -> None:
        groups = _groups(deltas, reads)
        deltas = [delta for group in groups for delta in group]
        self._reads = reads
        self._activations = [group[0].activation for group in groups]
        self._group_widths = [sum(map(width, group)) for group in groups]
        self._widths = [width(delta) for delta in deltas]

        dtype = layer.query.weight.dtype
        wide = torch.promote_types(dtype, torch.float32)
        ups = [delta.scaling * delta.up.weight.to(wide) for delta in deltas]
        biases = [delta.scaling * delta.up.bias.to(wide).unsqueeze(1) for delta in deltas]
        all_deltas = torch.cat([*ups, *biases], dim=1)  # A
        keys = (layer.key.weight.to(wide) @ all_deltas).T
        query = (keys @ layer.query.weight.to(wide)).to(dtype)  # S
        query_bias = (keys @ layer.query.bias.to(wide)).to(dtype)  # t
        value = all_deltas if layer.value is None else layer.value.weight.to(wide) @ all_deltas
        self._value = value.to(dtype)  # V

        downs = {reads: _down(group) for reads, group in groupby(deltas, lambda one: one.reads)}
        own = [downs.pop(reads)] if reads in downs else []
        self._others = list(downs.items())
        self._rows = torch.cat([*(weight for weight, _ in own), query])
        self._row_biases = torch.cat([*(bias for _, bias in own), query_bias])
        total = sum(self._widths)
        self._split = [len(self._rows) - len(query), total, len(deltas)]
        counts = torch.tensor(self._widths, device=self._rows.device)
        self._owner = torch.arange(len(deltas), device=counts.device).repeat_interleave(counts)

    def __call__(self, inputs: Inputs) -> Tensor:
        """What the fusion adds at the site. *Shape:* ``(..., d)``."""
        rows = linear(inputs.read(self._reads), self._rows, self._row_biases)
        own, query, constant = torch.split_with_sizes(rows, self._split, dim=-1)
        downs = [own, *(linear(inputs.read(reads), *down) for reads, down in self._others)]
        parts = torch.split_with_sizes(_cat(downs), self._group_widths, dim=-1)
        bottlenecks = _cat([act(part) for act, part in zip(self._activations, parts, strict=True)])

        wide = torch.promote_types(rows.dtype, torch.float32)
        bottlenecks = bottlenecks.to(wide)
        products = torch.split_with_sizes(bottlenecks * query.to(wide), self._widths, dim=-1)
        scores = torch.stack([product.sum(-1) for product in products], dim=-1)
        attention = torch.softmax(scores + constant.to(wide), dim=-1)
        weighted = bottlenecks * attention.index_select(-1, self._owner)
        return linear(torch.cat([weighted, attention], dim=-1).to(rows.dtype), self._value)


def width(delta: Delta) -> int:
    """The size ``r`` of the bottleneck."""
    return delta.down.out_features


def _groups(deltas: Iterable[Delta], reads: Reads) -> list[list[Delta]]:
    """Deltas of one input and one activation together; first those that read what the query does.

    The order of the adapters changes nothing in what a fusion adds.
    """
    groups: list[list[Delta]] = []
    for delta in sorted(deltas, key=lambda one: (one.reads != reads, one.reads)):
        for group in groups:
            if group[0].reads == delta.reads and _same(group[0].activation, delta.activation):
                group.append(delta)
                break
        else:
            groups.append([delta])
    return groups


def _same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two activations are the same function."""
    return type(one) is type(other) and not one.state_dict() and vars(one) == vars(other)


def _down(deltas: Iterable[Delta]) -> tuple[Tensor, Tensor]:
    projections = [delta.down for delta in deltas]
    return torch.cat([one.weight for one in projections]), torch.cat(
        [one.bias for one in projections]
    )


def _cat(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
