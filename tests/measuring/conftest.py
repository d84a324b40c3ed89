"""Answers of a classifier, some of them right."""

from __future__ import annotations

import numpy as np
import pytest

from hubkit.measuring import intervals
from hubkit.measuring.answers import Answers
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded, HeadPlan
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION

PLAN = HeadPlan(2, ("no", "yes"), "single_label_classification")


def classified(right: list[bool], plan: HeadPlan = PLAN) -> Answers:
    """Answers to rows of which every other is labelled yes, some of them right."""
    labels = ["yes" if row % 2 else "no" for row in range(len(right))]
    outputs = np.zeros((len(right), 2), dtype=np.float32)
    for row, (label, is_right) in enumerate(zip(labels, right, strict=True)):
        outputs[row, plan.labels.index(label) if is_right else 1 - plan.labels.index(label)] = 1
    rows = Rows("test.csv", {"text": [str(n) for n in range(len(right))], "label": labels})
    return Answers(TEXT_CLASSIFICATION, plan, rows, Encoded({}, range(len(right))), (outputs,))


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "WHOLES", 40)
