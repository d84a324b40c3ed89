"""One text, or several, to one of some labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor
from transformers import DataCollatorWithPadding

from hubkit.tasks.task import Prediction, TaskType


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


TEXT_CLASSIFICATION = TaskType(
    name="text-classification",
    auto_class="AutoModelForSequenceClassification",
    head_suffix="ForSequenceClassification",
    collator=DataCollatorWithPadding,
    metrics=_classification_metrics,
    decode=_classes,
)
