"""What a composition computes at one site.

Each node takes a :class:`Reading` of the site and returns the reading it adds to and the delta that
it adds. Only a stack moves on to another reading; a delta, a mix and a fusion add to the one they
got. The leaves are the deltas themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from hubkit.methods.method import Reads, is_finite
from hubkit.nn.delta import Delta
from hubkit.nn.foldable import Foldable
from hubkit.nn.fusion import Fused, FusionLayer
from hubkit.nn.joined import JoinedDeltas, can_join
from hubkit.nn.threads import PerThread
from registry.errors import CompositionError

Norm = Callable[[Tensor], Tensor]


class Reading:
    """What deltas can read at a site, for one value of what they add to.

    Args:
        output: ``h``: what the sub-block or the linear layer returned. *Shape:* ``(..., d_out)``.
        entered: What entered it: the residual that the base model adds to ``h``, or the input of
            the linear layer. *Shape:* ``(..., d_in)``.
        norm: The LayerNorm that follows the sum; None in pre-LN models and at linear layers.
        dtype: What deltas are computed in, where that is not the dtype of the base model: in a
            model in half precision, adapters are float32, as in PEFT. None: as the tensors are.
    """

    def __init__(
        self,
        output: Tensor,
        entered: Tensor,
        norm: Norm | None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.output = output
        self.entered = entered
        self.norm = norm
        self.dtype = dtype
        self._normed: Tensor | None = None

    def read(self, reads: Reads) -> Tensor:
        """The tensor that ``reads`` names. *Shape:* ``(..., d_in)``."""
        if reads == "output":
            found = self.output
        elif reads == "norm":
            found = self._norm()
        else:
            found = self.entered
        return found if self.dtype is None else found.to(self.dtype)

    def _norm(self) -> Tensor:
        if self._normed is None:
            # Once for all the adapters of a fusion.
            total = self.output + self.entered
            self._normed = total if self.norm is None else self.norm(total)
        return self._normed

    def plus(self, delta: Tensor) -> Reading:
        """The same site after ``delta`` has been added."""
        return Reading(self.sum(delta), self.entered, self.norm, self.dtype)

    def sum(self, delta: Tensor) -> Tensor:
        """The output with ``delta`` added, in the dtype of the base model."""
        total = self.output + delta
        return total if self.dtype is None else total.to(self.output.dtype)

    def nothing(self) -> Tensor:
        """A delta of zeros."""
        return torch.zeros_like(self.output, dtype=self.dtype)

    def at_rows(self, rows: Tensor) -> Reading:
        """The site of some rows of the input only, by their numbers."""
        return Reading(self.output[rows], self.entered[rows], self.norm, self.dtype)


def add(node: nn.Module, reading: Reading) -> tuple[Reading, Tensor]:
    """The delta of ``node``, and the reading that it is added to."""
    if isinstance(node, Delta):
        return reading, node(reading.read(node.form.reads))
    added: tuple[Reading, Tensor] = node(reading)
    return added


def reads_of(node: nn.Module) -> Reads:
    """The first input of ``node``."""
    reads: Reads = node.form.reads if isinstance(node, Delta) else node.reads  # type: ignore[assignment]
    return reads


def common_reads(nodes: Sequence[nn.Module]) -> Reads:
    """The input of all ``nodes``; the normed state, if they do not agree."""
    reads = {reads_of(node) for node in nodes}
    return reads.pop() if len(reads) == 1 else "norm"


class StackNode(nn.Module):
    """Adapters in sequence; the last one's delta is what the stack adds to its own reading."""

    def __init__(self, stages: Sequence[nn.Module]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.reads: Reads = reads_of(stages[-1])

    def forward(self, reading: Reading) -> tuple[Reading, Tensor]:
        """Let each stage read what the one before it has changed."""
        first, *others = self.stages
        reading, delta = add(first, reading)
        for stage in others:
            if isinstance(stage, Delta) and stage.form.chained:
                delta = stage(delta)
            else:
                reading, delta = add(stage, reading.plus(delta))
        return reading, delta


class MixWeights(nn.Module):
    """The learned weights of a mix (ScaLearn, Frohmann et al. 2024, arXiv 2310.01217).

    Nothing holds them to a distribution: they may be below 0 or above 1.

    Args:
        count: ``N``, the number of parts.
        size: The width ``d`` of a delta, for a weight for each of its outputs, *shape* ``(N, d)``;
            None: one number for each part, *shape* ``(N,)``.
        total: The sum of the parts' weights at the start; they start equal.
        dropout: The probability that a weight is dropped in a pass, while it is trained.
    """

    def __init__(
        self, count: int, size: int | None = None, *, total: float = 1.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not is_finite(total):
            raise CompositionError(f"The weights of a mix add up to a number, not {total!r}.")
        if not (is_finite(dropout) and 0 <= dropout < 1):
            raise CompositionError(
                f"The dropout of a mix is a number from 0 to below 1, not {dropout!r}."
            )
        shape = (count,) if size is None else (count, size)
        self.values = nn.Parameter(torch.full(shape, total / count))
        self.dropout = dropout

    def forward(self) -> Tensor:
        """The weights as they are for this pass. *Shape:* ``(N,)`` or ``(N, d)``."""
        if self.dropout and self.training and self.values.requires_grad:
            return dropout(self.values, self.dropout)
        return self.values


class MixNode(nn.Module):
    """A weighted sum of what adapters add; of a stack among them, the last stage is what is mixed.

    Args:
        branches: The adapters.
        weights: One constant for each, or what is learned.

    Example:
        >>> reading = Reading(output, residual, norm)
        >>> reading, delta = MixNode([one, other], [0.3, 0.7])(reading)
        >>> reading.sum(delta)  # the output of the site with both added
    """

    def __init__(
        self, branches: Sequence[nn.Module], weights: Sequence[float] | MixWeights
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.weights = weights
        self.reads: Reads = common_reads(branches)

    def forward(self, reading: Reading) -> tuple[Reading, Tensor]:
        """Sum what the branches would add."""
        weights: Any = self.weights
        if isinstance(weights, MixWeights):
            weights = weights()
        if can_join(self.branches):
            joined = JoinedDeltas(list(self.branches), self.reads)  # type: ignore[arg-type]
            return reading, joined.mix(joined.bottlenecks(reading), weights)
        terms = [
            weight * add(branch, reading)[1]
            for weight, branch in zip(weights, self.branches, strict=True)
        ]
        return reading, sum(terms[1:], terms[0])


class FusionNode(Foldable):
    """Attention over adapters; of a stack among them, the last stage is what is mixed."""

    def __init__(self, branches: Sequence[nn.Module], layer: FusionLayer) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.layer = layer
        self.reads: Reads = common_reads(branches)
        self._listeners = 0
        self._heard = PerThread()

    def listen(self) -> None:
        """Keep the attention of this thread's passes, until it is :meth:`heard`."""
        self._listeners += 1
        self._heard.items[:] = [None]

    @property
    def is_listened_to(self) -> bool:
        """Whether this thread listens."""
        return self._listeners > 0 and bool(self._heard.items)

    def heard(self) -> Tensor | None:
        """Return the attention of the last pass, *shape* ``(..., N)``, and stop listening."""
        self._listeners -= 1
        attention: Tensor | None = self._heard.items.pop()
        return attention

    def forward(self, reading: Reading) -> tuple[Reading, Tensor]:
        """Mix what the branches would add."""
        delta = self._mix(reading)
        if self.reads == "residual":
            # Parallel adapters were trained, in the library they come from, with a fusion that
            # adds the residual once more.
            delta = delta + reading.entered
        return reading, delta

    def _mix(self, reading: Reading) -> Tensor:
        branches: list[Any] = list(self.branches)
        listened_to = self._listeners > 0 and self.is_listened_to
        if not listened_to and self.joins(branches, self.layer):
            folded = self.folded(branches, self.layer, self.reads)
            if folded is not None:
                return folded(reading)
            return self.layer.over(branches, reading, self.reads)
        deltas = torch.stack([add(branch, reading)[1] for branch in branches], dim=-2)
        fused: Fused = self.layer(reading.read(self.reads), deltas)
        if listened_to:
            self._heard.items[:] = [fused.attention]
        return fused.delta
