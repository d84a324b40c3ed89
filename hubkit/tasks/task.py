"""What training, evaluating and predicting need to know of a task type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import transformers
from torch import Tensor


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
