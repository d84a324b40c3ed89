from __future__ import annotations

import pytest

from hubkit.comparing.folds import folds_of
from hubkit.tasks.table import TASK_TYPES
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from registry.errors import FoldsError
from tests.support.data import LabelledText


def rows(labels: str, texts: str = "") -> LabelledText:
    return LabelledText("few.csv", list(texts or map(str, range(len(labels)))), list(labels))


def test_each_row_is_measured_on_once_and_never_where_it_is_trained_on() -> None:
    data = rows("ppppppnnnnnn")
    folds = folds_of(TEXT_CLASSIFICATION, data, 3, seed=0)
    assert sorted(row for fold in folds for row in fold.test) == list(range(12))
    for fold in folds:
        assert sorted([*fold.train, *fold.test]) == list(range(12))
        assert sorted(data["label"][row] for row in fold.test) == list("nnpp")
    assert folds == folds_of(TEXT_CLASSIFICATION, data, 3, seed=0)
    assert folds != folds_of(TEXT_CLASSIFICATION, data, 3, seed=1)


def test_rows_with_the_same_text_are_in_one_fold() -> None:
    data = rows("pnpnpnpn", texts="aabbccdd")
    for fold in folds_of(TEXT_CLASSIFICATION, data, 2, seed=0):
        assert not {data["text"][i] for i in fold.train} & {data["text"][i] for i in fold.test}


def test_numbers_are_divided_without_classes() -> None:
    task = TASK_TYPES["text-regression"]
    data = LabelledText("scores.csv", ["a", "b", "c", "d"], ["1", "2", "3", "4"])
    assert [len(fold.test) for fold in folds_of(task, data, 2, seed=0)] == [2, 2]


@pytest.mark.parametrize(
    ("labels", "count", "message"),
    [
        ("ppnn", 1, "1 fold leaves no rows of few.csv to train on; expected two or more."),
        ("ppn", 4, "few.csv has 3 different rows, fewer than the 4 folds."),
        ("ppppn", 2, "few.csv has 1 different rows with the label 'n', fewer than the 2 folds."),
    ],
)
def test_too_few_rows_are_told_before_anything_is_trained(
    labels: str, count: int, message: str
) -> None:
    with pytest.raises(FoldsError) as caught:
        folds_of(TEXT_CLASSIFICATION, rows(labels), count, seed=0)
    assert str(caught.value) == message
