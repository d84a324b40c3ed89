"""The weights of classes in the loss, for task types that have classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from hubkit.tasks.columns import near_label
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import HeadPlan, TaskType
from registry.errors import DataError, LabelError


def class_weights(
    wanted: Literal["balanced"] | Mapping[str, float],
    task: TaskType[Any],
    rows: Rows,
    plan: HeadPlan,
) -> ClassWeights:
    """The weights that settings ask for.

    Args:
        wanted: ``balanced``, or weights by class; the others weigh 1.
        task: Knows how often each class occurs.
        rows: The rows to train on.
        plan: The plan of the head.

    Raises:
        DataError: The task type has no classes.
        LabelError: There is no such class.
    """
    counts = task.class_counts(rows, plan)
    if counts is None:
        raise DataError(
            f"{rows.name}: {task.name} counts no classes in these rows, so that none can be "
            "weighed.",
            rows.name,
        )
    several = plan.problem_type == "multi_label_classification"
    if isinstance(wanted, str):
        balance = _balance_several if several else _balance_one
        return ClassWeights(torch.tensor(balance(counts, len(rows))), several=several)
    for name in wanted:
        if name not in plan.labels:
            raise LabelError(
                f"There is no class {name!r} to weigh; there are "
                f"{', '.join(map(repr, plan.labels))}.{near_label(name, plan.labels)}",
                name,
                given=name,
                expected=plan.labels,
            )
    values = [float(wanted.get(name, 1.0)) for name in plan.labels]
    return ClassWeights(torch.tensor(values), several=several)


class ClassWeights:
    """Lets a model compute its loss with a weight for each class.

    If each row has one class, the loss is the mean of the cross entropies, weighted by the weight
    of the right class: ``torch.nn.functional.cross_entropy(..., weight=values)``. If a row may have
    several, a class has its weight in the rows that have it:
    ``binary_cross_entropy_with_logits(..., pos_weight=values)``.

    Args:
        values: A weight for each output of the head, *shape* ``(labels,)``.
        several: Whether several classes may hold.
    """

    def __init__(self, values: Tensor, *, several: bool) -> None:
        self.values = values
        self._several = several

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            logits: *Shape* ``(..., labels)``.
            labels: Class ids, *shape* ``(...)``, where -100 is left out; or 0 and 1 for each class.
        """
        weights, logits = self.values.to(logits.device), logits.float()
        if self._several:
            return functional.binary_cross_entropy_with_logits(
                logits, labels.to(logits.dtype), pos_weight=weights
            )
        flat, ids = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
        total = functional.cross_entropy(flat, ids, weight=weights, reduction="sum")
        return total / self.amount(ids).clamp(min=1e-9)  # none may weigh anything

    def amount(self, labels: Tensor) -> Tensor:
        """The divisor of a batch's loss: the sum of the weights of its classes, or its rows."""
        if self._several:
            return torch.tensor(float(len(labels)), device=labels.device)
        return self.values.to(labels.device)[labels[labels != -100]].sum()

    @contextmanager
    def inside(self, model: nn.Module) -> Iterator[None]:
        """Let ``model`` weigh the classes in its loss inside the block."""
        # First of all hooks: what others add to a loss stays in it.
        handle = model.register_forward_hook(_Weigh(self), prepend=True, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


class _Weigh:
    def __init__(self, weights: ClassWeights) -> None:
        self._weights = weights

    def __call__(
        self, _model: nn.Module, _arguments: Any, named: Mapping[str, Any], output: Any
    ) -> None:
        if named.get("labels") is not None:
            output["loss"] = self._weights.loss(output["logits"], named["labels"])


def _balance_one(counts: Sequence[int], rows: int) -> list[float]:
    # As sklearn.utils.class_weight; a class that never occurs gets 1.
    total, classes = sum(counts), sum(count > 0 for count in counts)
    return [total / (classes * count) if count else 1.0 for count in counts]


def _balance_several(counts: Sequence[int], rows: int) -> list[float]:
    # Rows without the label divided by rows with it, as torch defines pos_weight.
    return [(rows - count) / count if 0 < count < rows else 1.0 for count in counts]
