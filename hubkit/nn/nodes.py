"""What a composition computes at one site.

Each node takes a :class:`Reading` of the site and returns the reading it adds to and the delta that
it adds. Only a stack moves on to another reading; a delta and a fusion add to the one they got.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from hubkit.nn.delta import Delta
from hubkit.nn.foldable import Foldable
from hubkit.nn.folded import Folded
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.methods import Reads

Norm = Callable[[Tensor], Tensor]


class Reading:
    """What deltas can read at a site, for one value of the sub-block's output.

    Args:
        output: ``h``. *Shape:* ``(batch, length, d)``.
        residual: The sub-block's input that the base model adds to ``h``. *Shape:* as ``h``.
        norm: The LayerNorm that follows the sum; None in pre-LN models.
    """

    def __init__(self, output: Tensor, residual: Tensor, norm: Norm | None) -> None:
        self.output = output
        self.residual = residual
        self._norm = norm
        self._normed: Tensor | None = None

    def read(self, reads: Reads) -> Tensor:
        """The tensor that ``reads`` names. *Shape:* ``(batch, length, d)``."""
        if reads == "output":
            return self.output
        if reads == "residual":
            return self.residual
        if self._normed is None:
            # Once for all the adapters of a fusion.
            total = self.output + self.residual
            self._normed = total if self._norm is None else self._norm(total)
        return self._normed

    def plus(self, delta: Tensor) -> Reading:
        """The same site after ``delta`` has been added."""
        return Reading(self.output + delta, self.residual, self._norm)


class DeltaNode(nn.Module):
    """One adapter."""

    def __init__(self, delta: Delta) -> None:
        super().__init__()
        self.delta = delta
        self.reads: Reads = delta.reads

    def forward(self, reading: Reading) -> tuple[Reading, Tensor]:
        """Add the adapter's delta."""
        return reading, self.delta(reading.read(self.reads))


class StackNode(nn.Module):
    """Adapters in sequence; the last one's delta is what the stack adds to its own reading."""

    def __init__(self, stages: Sequence[DeltaNode | StackNode | FusionNode]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.reads: Reads = stages[-1].reads

    def forward(self, reading: Reading) -> tuple[Reading, Tensor]:
        """Let each stage read what the one before it has changed."""
        first, *others = self.stages
        reading, delta = first(reading)
        for stage in others:
            reading, delta = stage(reading.plus(delta))
        return reading, delta


class FusionNode(Foldable):
    """Attention over adapters; of a stack among them, the last stage is what is mixed."""

    def __init__(
        self, branches: Sequence[DeltaNode | StackNode | FusionNode], layer: FusionLayer
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.layer = layer
        reads = {branch.reads for branch in branches}
        self.reads: Reads = reads.pop() if len(reads) == 1 else "norm"

    def forward(self, reading: Reading) -> tuple[Reading, Tensor]:
        """Mix what the branches would add."""
        folded = self._fold()
        delta = self._mix(reading) if folded is None else folded(reading)
        if self.reads == "residual":
            # Parallel adapters were trained, in the library they come from, with a fusion that
            # adds the residual once more.
            delta = delta + reading.residual
        return reading, delta

    def _mix(self, reading: Reading) -> Tensor:
        deltas = torch.stack([branch(reading)[1] for branch in self.branches], dim=-2)
        mixed: Tensor = self.layer(reading.read(self.reads), deltas).delta
        return mixed

    def _fold(self) -> Folded | None:
        deltas = [branch.delta for branch in self.branches if type(branch) is DeltaNode]
        if len(deltas) < len(self.branches):
            return None
        return self.folded(deltas, self.layer, self.reads)


Node = DeltaNode | StackNode | FusionNode
