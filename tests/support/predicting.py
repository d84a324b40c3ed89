"""Predictions of a task type, without a registry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from hubkit.tasks.task import HeadPlan, Prediction, TaskType
from registry.manifest import TextInfo

TEXTS = ("good", "the film was very very dull", "a plot", "the ball was not bad at all", "great")


def predict(
    task: TaskType[Any],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    plan: HeadPlan,
    items: Iterable[Any],
    **options: Any,
) -> Sequence[Prediction]:
    """All rows in one batch, padded as the task type finds it."""
    task.prepare(tokenizer, model, plan, TextInfo())
    how = task.options_of(options)
    rows = task.given(items)
    encoded = task.encode(tokenizer, rows, plan, TextInfo())
    batch = task.collator(tokenizer, model)([encoded.feature(i) for i in range(len(encoded))])
    with torch.no_grad():
        outputs = task.run(model, batch, how)[1]
    return task.predictions(tuple(o.numpy() for o in outputs), encoded, rows, plan, how)
