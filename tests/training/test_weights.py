from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

from hubkit.tasks.table import TASK_TYPES
from hubkit.training.weights import class_weights
from registry.errors import DataError, LabelError
from tests.support.data import LabelledText
from tests.support.models import tiny_classifier

TASK = TASK_TYPES["text-classification"]
LABELS = ["a"] * 5 + ["bitter"] * 2 + ["c"]
ROWS = LabelledText("rows", ["the film"] * 8, LABELS)
PLAN = TASK.fit_plan(ROWS)


def several() -> Any:
    from hubkit.tasks.rows import Rows

    return Rows("rows", {"text": ["t"] * 4, "labels": [["a"], ["a", "b"], ["a"], []]})


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    found = class_weights("balanced", TASK, ROWS, PLAN).values
    expected = compute_class_weight("balanced", classes=np.array(PLAN.labels), y=LABELS)
    assert found.tolist() == pytest.approx(expected.tolist())


def test_balanced_weights_of_several_labels_are_rows_without_to_rows_with() -> None:
    rows = several()
    found = class_weights("balanced", TASK, rows, TASK.fit_plan(rows)).values
    assert found.tolist() == pytest.approx([1 / 3, 3.0])


def test_classes_that_are_not_named_weigh_one() -> None:
    assert class_weights({"bitter": 2.5}, TASK, ROWS, PLAN).values.tolist() == [1.0, 2.5, 1.0]


def test_a_model_computes_the_weighted_loss_of_torch() -> None:
    model = tiny_classifier(num_labels=3).eval()
    ids, labels = torch.tensor([[5, 6], [7, 8], [9, 4]]), torch.tensor([0, 2, 1])
    plain = model(input_ids=ids, labels=labels)
    with class_weights({"a": 0.5, "c": 4}, TASK, ROWS, PLAN).inside(model):
        weighted = model(input_ids=ids, labels=labels)
        assert model(input_ids=ids).get("loss") is None
    expected = functional.cross_entropy(plain.logits, labels, weight=torch.tensor([0.5, 1.0, 4.0]))
    assert weighted.loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert weighted.loss.item() != pytest.approx(plain.loss.item(), abs=1e-4)
    assert torch.equal(model(input_ids=ids, labels=labels).loss, plain.loss)


def test_several_labels_are_weighed_where_they_hold() -> None:
    rows = several()
    plan = TASK.fit_plan(rows)
    weights = class_weights({"b": 3}, TASK, rows, plan)
    logits, labels = torch.randn(4, 2), torch.tensor([[1, 0], [1, 1], [1, 0], [0, 0]])
    expected = functional.binary_cross_entropy_with_logits(
        logits, labels.float(), pos_weight=torch.tensor([1.0, 3.0])
    )
    assert torch.equal(weights.loss(logits, labels), expected)


def test_what_is_left_out_weighs_nothing() -> None:
    weights = class_weights({"a": 2}, TASK, ROWS, PLAN)
    logits, labels = torch.randn(2, 2, 3), torch.tensor([[0, -100], [2, -100]])
    expected = functional.cross_entropy(
        logits.view(-1, 3), labels.view(-1), weight=torch.tensor([2.0, 1.0, 1.0])
    )
    assert weights.loss(logits, labels).item() == pytest.approx(expected.item(), abs=1e-6)
    assert weights.amount(labels).item() == 3.0
    nothing = torch.full((2, 2), -100)
    assert weights.loss(logits, nothing).item() == 0.0


def test_a_class_that_there_is_not_is_refused() -> None:
    with pytest.raises(LabelError, match=r"no class 'bittr' to weigh.*Did you mean bitter"):
        class_weights({"bittr": 2}, TASK, ROWS, PLAN)


def test_a_task_type_without_classes_has_none_to_weigh() -> None:
    from hubkit.tasks.rows import Rows

    rows = Rows("rows", {"text": ["t", "u"], "score": [1.0, 2.0]})
    task = TASK_TYPES["text-regression"]
    with pytest.raises(DataError, match="text-regression counts no classes"):
        class_weights("balanced", task, rows, task.fit_plan(rows))


def test_tags_are_counted_by_word() -> None:
    from hubkit.tasks.rows import Rows

    rows = Rows("rows", {"tokens": [["a", "b", "c"], ["d"]], "tags": [["O", "B-X", "O"], ["O"]]})
    task = TASK_TYPES["token-classification"]
    plan = task.fit_plan(rows)
    found = class_weights("balanced", task, rows, plan).values.tolist()
    assert dict(zip(plan.labels, found, strict=True)) == pytest.approx(
        {"B-X": 2.0, "I-X": 1.0, "O": 4 / 6}  # what never occurs weighs 1
    )
