"""What is measured: the rows of the table, and the sizes of their adapters."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Kind = Literal["single", "stack", "fusion", "batch", "mix", "parallel"]
Method = Literal["seq_bn", "lora"]
Step = Literal["forward", "training", "training, eval trunk"]

BOTTLENECK_SIZE = 24
LORA_RANK = 8
USUAL_SHAPE = (16, 128)


@dataclass(frozen=True)
class Row:
    """One composition at work.

    Attributes:
        kind: How the adapters are combined.
        count: How many there are; in a batch, each has as many rows of the input.
        method: Of all the adapters.
        step: What is timed. Training is forward pass, backward pass and the step of AdamW, with
            the dropout of the base model or, with its trunk in eval mode, without.
        shape: Rows and tokens of the input.
        plain: Compute a fusion as it is written, never from its weights: for comparison.
        dropped: How many of the lowest layers are left out.
        cached: Whether what lies below what is trained is computed once for each text.
    """

    kind: Kind
    count: int = 1
    method: Method = "seq_bn"
    step: Step = "forward"
    shape: tuple[int, int] = USUAL_SHAPE
    plain: bool = False
    dropped: int = 0
    cached: bool = False

    @property
    def name(self) -> str:
        """What tables and the option ``--rows`` call it; of what is usual it says nothing."""
        count = f" {'over' if self.kind == 'batch' else 'of'} {self.count}"
        parts = [
            "" if self.step == "forward" else f"{self.step}: ",
            "" if self.method == "seq_bn" else f"{self.method} ",
            self.kind if self.kind == "single" else self.kind + count,
            f", {self.dropped} layers dropped" if self.dropped else "",
            ", cached" if self.cached else "",
            "" if self.shape == USUAL_SHAPE else f", {self.shape[0]} x {self.shape[1]}",
        ]
        return "".join(parts)

    @property
    def reference(self) -> str:
        """What the time is divided by."""
        return f"{self.count} separate runs" if self.kind == "parallel" else "bare forward"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Row:
        return cls(**{**value, "shape": tuple(value["shape"])})


_TRAINED: tuple[tuple[Kind, int], ...] = (("single", 1), ("fusion", 2), ("fusion", 8))
_TRAINING: tuple[Step, ...] = ("training", "training, eval trunk")
COMPOSITIONS = (
    Row("single"),
    Row("single", method="lora"),
    Row("stack", 2),
    *(Row("fusion", count) for count in (2, 4, 8, 16, 32)),
    Row("batch", 8),
    Row("batch", 64, method="lora", shape=(64, 16)),
    Row("mix", 8),
    Row("parallel", 4),
    *(Row(kind, count, step=step) for step in _TRAINING for kind, count in _TRAINED),
)
"""The rows on a CPU."""


def rows_on(device: str, names: Collection[str]) -> list[Row]:
    """The rows to measure: on a GPU each at batch 1 and 64, where it has as many adapters.

    Args:
        device: ``cpu`` or ``cuda``.
        names: Parts of the names of those that are wanted; none for all.
    """
    rows = list(COMPOSITIONS)
    if device != "cpu":
        sized = [replace(row, shape=(size, row.shape[1])) for row in rows for size in (1, 64)]
        rows = [row for row in sized if row.kind != "batch" or row.count <= row.shape[0]]
    return [row for row in rows if not names or any(name in row.name for name in names)]
