"""Several deltas as one: their bottlenecks side by side, and what those are multiplied by.

Delta ``n`` of ``N`` has the bottleneck ``a_n = act_n(D_n x_n + b_n)``, of width ``r_n``, and gives
``z_n = s_n (U_n a_n + c_n)``; write ``R`` for the sum of the ``r_n``. All of them together are
linear in the bottlenecks, through one matrix of *shape* ``(d, R + N)``::

    A = [s_1 U_1, ..., s_N U_N, s_1 c_1, ..., s_N c_N]

so that ``sum_n p_n z_n = A [p_1 a_1, ..., p_N a_N, p_1, ..., p_N]``, and the inner products of all
the ``z_n`` with one vector ``q`` are those of the ``a_n`` with parts of ``A^T q``. No tensor with
``N d`` numbers for a token is ever made. Where no delta has a ``c``, the last ``N`` columns are
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from hubkit.methods.method import Reads
from hubkit.nn.delta import Delta
from hubkit.nn.plain import is_plain


class Inputs(Protocol):
    """The inputs that a site offers."""

    def read(self, reads: Reads) -> Tensor:
        """The tensor that ``reads`` names. *Shape:* ``(..., d)``."""


def can_join(nodes: Iterable[nn.Module]) -> bool:
    """Whether ``nodes`` are plain deltas that drop nothing, so that they need not be called."""
    return all(type(node) is Delta and not node.dropping and is_plain(node) for node in nodes)


class JoinedDeltas:
    """The weights of several deltas at one site, concatenated.

    Deltas of one input and one activation stand together; first those that read ``reads``. The
    order changes nothing in what a fusion or a mix adds.

    Args:
        deltas: At least one.
        reads: What is asked with; the down-projection of its readers is :attr:`own`.
        dtype: Of ``A``; default: as the weights.

    Example:
        >>> joined = JoinedDeltas([one, other], "norm")
        >>> joined.mix(joined.bottlenecks(reading), [0.3, 0.7])  # 0.3 * one(x) + 0.7 * other(x)
    """

    def __init__(
        self, deltas: Sequence[Delta], reads: Reads, dtype: torch.dtype | None = None
    ) -> None:
        self.reads = reads
        ordered = sorted(
            range(len(deltas)),
            key=lambda i: (deltas[i].form.reads != reads, deltas[i].form.reads, _named(deltas[i])),
        )
        self.positions = ordered
        deltas = [deltas[index] for index in ordered]
        # By the object: one of a delta may have been replaced since it was named.
        groups = _runs(deltas, lambda one: (_reads(one), one.activation))
        self._activations = [group[0].activation for group in groups]
        self._group_widths = [sum(one.shape.rank for one in group) for group in groups]
        self.widths = [one.shape.rank for one in deltas]
        self.downs = [(_reads(group[0]), *_down(group)) for group in _runs(deltas, _reads)]
        self.has_constants = any(one.up_bias is not None for one in deltas)
        columns = [_scaled(one, one.up, dtype) for one in deltas]
        if self.has_constants:
            columns += [_scaled(one, _column(one), dtype) for one in deltas]
        self.matrix = torch.cat(columns, dim=1)  # A

    def bottlenecks(self, inputs: Inputs, own: Tensor | None = None) -> Tensor:
        """All ``a_n``. *Shape:* ``(..., R)``.

        Args:
            inputs: The site.
            own: The down-projection of those that read :attr:`reads`, where it is known already.
        """
        parts = [
            own
            if own is not None and reads == self.reads
            else linear(inputs.read(reads), weight, bias)
            for reads, weight, bias in self.downs
        ]
        if len(self._group_widths) == 1:
            return _activate(self._activations[0], parts[0])
        split = torch.split_with_sizes(cat(parts), self._group_widths, dim=-1)
        return cat([_activate(act, x) for act, x in zip(self._activations, split, strict=True)])

    def mix(self, bottlenecks: Tensor, weights: Sequence[float] | Tensor) -> Tensor:
        """``sum_n w_n z_n``. *Shape:* ``(..., d)``.

        Args:
            bottlenecks: *Shape:* ``(..., R)``.
            weights: One for each delta, in the order in which they were given; or one for each of
                its outputs, *shape* ``(N, d)``.
        """
        return linear(bottlenecks, *self.weighted(weights))

    def weighted(self, weights: Sequence[float] | Tensor) -> tuple[Tensor, Tensor | None]:
        """What the bottlenecks are multiplied by, and what is added, in the sum of :meth:`mix`.

        *Shapes:* ``(d, R)`` and ``(d,)``; None where no delta has a ``c``.
        """
        numbers = torch.as_tensor(weights, dtype=self.matrix.dtype, device=self.matrix.device)
        numbers = numbers[self.positions].T if numbers.ndim == 2 else numbers[self.positions]
        total = sum(self.widths)
        matrix = self.matrix[:, :total] * _by_column(numbers, self.widths)
        if not self.has_constants:
            return matrix, None
        constants = self.matrix[:, total:]
        return matrix, ((constants * numbers).sum(-1) if numbers.ndim == 2 else constants @ numbers)

    def attend(
        self, bottlenecks: Tensor, asked: Tensor, shift: Tensor | float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Softmax over the deltas.

        Args:
            bottlenecks: *Shape:* ``(..., R)``, float32 or wider.
            asked: ``A^T q``. *Shape:* ``(..., R + N)``, of the same type.
            shift: What is added to every score. *Shape:* ``(..., 1)``.

        Returns:
            What ``A`` is to be multiplied by, *shape* ``(..., R + N)``, and the attention, *shape*
            ``(..., N)``, in the order of the deltas here.
        """
        widths = self.widths
        if self.has_constants:
            asked, constants = torch.split_with_sizes(asked, [sum(widths), len(widths)], dim=-1)
            shift = constants + shift
        if len(set(widths)) == 1:
            by_delta = (*bottlenecks.shape[:-1], len(widths), widths[0])
            scores = (bottlenecks * asked).reshape(by_delta).sum(-1) + shift
            attention = torch.softmax(scores, dim=-1)
            weighted = bottlenecks.reshape(by_delta) * attention.unsqueeze(-1)
            weighted = weighted.flatten(-2)
        else:
            products = torch.split_with_sizes(bottlenecks * asked, widths, dim=-1)
            scores = torch.stack([product.sum(-1) for product in products], dim=-1) + shift
            attention = torch.softmax(scores, dim=-1)
            weighted = bottlenecks * _by_column(attention, widths)
        weights = torch.cat([weighted, attention], dim=-1) if self.has_constants else weighted
        return weights, attention


def _by_column(values: Tensor, widths: Sequence[int]) -> Tensor:
    """The value of each delta, repeated for each column of its bottleneck."""
    # As ``repeat_interleave`` does it, of which ONNX knows no form with several counts.
    of = [number for number, width in enumerate(widths) for _ in range(width)]
    return values.index_select(-1, torch.tensor(of, device=values.device))


def cat(parts: Sequence[Tensor]) -> Tensor:
    """``parts`` along the last axis."""
    return torch.cat([*parts], dim=-1) if len(parts) > 1 else parts[0]


def _runs(deltas: Sequence[Delta], key: Callable[[Delta], object]) -> list[list[Delta]]:
    """Neighbours of one key together; ``itertools.groupby`` cannot be compiled."""
    runs: list[list[Delta]] = []
    for one in deltas:
        if runs and key(runs[-1][0]) == key(one):
            runs[-1].append(one)
        else:
            runs.append([one])
    return runs


def _reads(delta: Delta) -> Reads:
    return delta.form.reads


def _named(delta: Delta) -> str:
    return delta.form.activation


def _activate(activation: object, x: Tensor) -> Tensor:
    if activation is None:
        return x
    result: Tensor = activation(x)  # type: ignore[operator]
    return result


def _down(deltas: Sequence[Delta]) -> tuple[Tensor, Tensor | None]:
    weight = torch.cat([one.down for one in deltas])
    if all(one.down_bias is None for one in deltas):
        return weight, None
    biases = [
        one.down_bias if one.down_bias is not None else one.down.new_zeros(one.shape.rank)
        for one in deltas
    ]
    return weight, torch.cat(biases)


def _column(delta: Delta) -> Tensor:
    bias = delta.up_bias
    return (delta.up.new_zeros(len(delta.up)) if bias is None else bias).unsqueeze(1)


def _scaled(delta: Delta, matrix: Tensor, dtype: torch.dtype | None) -> Tensor:
    matrix = matrix.to(dtype)
    if isinstance(delta.scale, Tensor):
        return delta.scale.to(dtype).reshape(-1, 1) * matrix
    return matrix if delta.scale == 1.0 else delta.scale * matrix
