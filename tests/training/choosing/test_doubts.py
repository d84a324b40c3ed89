from __future__ import annotations

import pytest

from hubkit.tasks.rows import Rows
from hubkit.tasks.table import TASK_TYPES
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from hubkit.training.choosing.doubts import note_doubts
from hubkit.training.data import LabelledText


def test_doubts_are_told_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    train = LabelledText("t.csv", ["a", "b", "a"], ["x", "y", "y"])
    note_doubts(TEXT_CLASSIFICATION, [(train, LabelledText("v.csv", ["b", "c"], ["y", "x"]))])
    assert "1 of the 2 rows of v.csv" in caplog.text
    assert "1 text is in several rows with different label" in caplog.text
    caplog.clear()
    note_doubts(TEXT_CLASSIFICATION, [(train, train)])
    assert "t.csv, which the best epoch is chosen by, has the same rows" in caplog.text
    caplog.clear()
    clean = LabelledText("t.csv", ["a", "b"], ["x", "y"])
    note_doubts(TEXT_CLASSIFICATION, [(clean, LabelledText("v.csv", ["c"], ["y"]))])
    assert caplog.text == ""


def test_texts_that_are_given_twice_in_a_row_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    rows = Rows("d", {"source": ["a", "b", "c"], "target": ["a", "b", "d"]})
    note_doubts(TASK_TYPES["translation"], [(rows, None)])
    (record,) = caplog.records
    assert record.getMessage() == "d: 2 of 3 rows have the same text as source and as target."
