"""The task types: one row each, and all that training, evaluating and predicting need to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor
from transformers import DataCollatorWithPadding, PreTrainedModel

from registry.errors import AdapterError


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one text.

    Attributes:
        label: The most probable label.
        score: Its probability, from 0 to 1.
        scores: The probability of each label, in the order of their ids.
    """

    label: str
    score: float
    scores: dict[str, float]


@dataclass(frozen=True)
class TaskType:
    """One way of working.

    Attributes:
        name: As on the Hugging Face Hub.
        auto_class: The transformers class that loads a base model with the head for it.
        head_suffix: How the names of the model classes with that head end.
        collator: Makes a batch of tokenised rows.
        metrics: From label ids (n) and predicted ids (n) to numbers that are better when higher;
            the first is the one that sums a run up.
        decode: From logits (n, labels) and label names to what `predict` returns.
    """

    name: str
    auto_class: str
    head_suffix: str
    collator: Callable[..., Any]
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    decode: Callable[[Tensor, Sequence[str]], list[Prediction]]

    def load_class(self) -> Any:
        """The auto class itself."""
        return getattr(transformers, self.auto_class)


def _classification_metrics(expected: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": float(accuracy_score(expected, predicted)),
        # A class that nobody predicts counts as 0; that is the answer, not a problem to warn of.
        "f1_macro": float(f1_score(expected, predicted, average="macro", zero_division=0.0)),
    }


def _classes(logits: Tensor, labels: Sequence[str]) -> list[Prediction]:
    probabilities = torch.softmax(logits.float(), dim=-1)
    return [
        Prediction(
            labels[row.argmax()], float(row.max()), dict(zip(labels, row.tolist(), strict=True))
        )
        for row in probabilities
    ]


TASK_TYPES: dict[str, TaskType] = {
    task.name: task
    for task in (
        TaskType(
            name="text-classification",
            auto_class="AutoModelForSequenceClassification",
            head_suffix="ForSequenceClassification",
            collator=DataCollatorWithPadding,
            metrics=_classification_metrics,
            decode=_classes,
        ),
    )
}


def task_type(name: str | None, adapter: str) -> TaskType:
    """The row of a task type.

    Args:
        name: The task type in the manifest of ``adapter``.
        adapter: What needs it, for the message.

    Raises:
        AdapterError: hubkit does not run that task type.
    """
    if name in TASK_TYPES:
        return TASK_TYPES[name]
    raise AdapterError(
        f"{adapter} has the task type {name or 'none'}; hubkit runs {', '.join(TASK_TYPES)}. "
        "Load it with hubkit.Adapter.load and hubkit.attach to run it in a model of your own."
    )


def task_type_of(model: PreTrainedModel) -> str | None:
    """The task type that the head of ``model`` is for; None where no row knows it."""
    for task in TASK_TYPES.values():
        if type(model).__name__.endswith(task.head_suffix):
            return task.name
    return None
