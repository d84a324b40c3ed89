"""The way from labels to targets, and from what a linear map says of them to a head's outputs."""

from __future__ import annotations

from typing import Any

import pytest

from hubkit.suggesting.learner import WAYS
from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES
from registry.manifest import TextInfo
from tests.support.models import tokenizer

TEXTS = ["the film was good", "a dull plot", "great", "the ball was bad"]
ROWS: dict[str, dict[str, Any]] = {
    "text-classification": {"text": TEXTS, "label": ["a", "b", "c", "b"]},
    "text-regression": {"text": TEXTS, "score": [1.0, 2.5, -3.0, 0.0]},
    "multiple-choice": {
        "prompt": TEXTS,
        "choices": [["good", "bad"], ["bad", "dull", "good"], ["the", "a"], ["plot", "film"]],
        "label": [0, 2, 1, 0],
    },
    "ranking": {
        "query": ["film", "plot"],
        "candidates": [["good film", "bad film", "ball"], ["dull plot", "great plot"]],
        "relevance": [[1.0, 0.0, 0.5], [0.0, 1.0]],
    },
    "token-classification": {
        "tokens": [["the", "film", "was", "abc"], ["good", "plot"], ["ball", "was"]],
        "tags": [["O", "B-X", "O", "B-Y"], ["O", "B-X"], ["B-Y", "O"]],
    },
}
SEVERAL = {"text": TEXTS, "labels": [["a"], [], ["a", "b"], ["b"]]}


@pytest.mark.parametrize(("name", "columns"), [*ROWS.items(), ("text-classification", SEVERAL)])
def test_who_predicts_each_target_has_the_best_metric(name: str, columns: dict[str, Any]) -> None:
    task, rows = TASK_TYPES[name], Rows("rows.csv", columns)
    assert task.linear is not None
    way, plan = WAYS[task.linear], task.fit_plan(rows)
    encoded = task.encode(tokenizer(), rows, plan, TextInfo(max_length=16))
    targets = way.targets(encoded, plan)
    (first, *_) = task.metrics_up
    best, worst = (
        task.metrics(way.outputs(sign * targets, encoded), encoded, rows, plan)
        for sign in (1.0, -1.0)
    )
    first = first if first in best else "f1_micro"
    assert best[first] == pytest.approx(1.0)
    assert worst[first] < 0.9


def test_each_task_type_with_labels_to_learn_has_a_way() -> None:
    able = {task.name: task.linear for task in TASK_TYPES.values() if task.linear is not None}
    assert able.keys() == {*ROWS, "image-classification"}
