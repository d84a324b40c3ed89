from __future__ import annotations

import numpy as np

from hubkit.measuring.answers import Answers
from hubkit.tasks.question_answering import QUESTION_ANSWERING
from hubkit.tasks.rows import Rows
from hubkit.tasks.task import Encoded
from tests.measuring.conftest import PLAN, classified


def test_rows_are_drawn_with_all_their_windows() -> None:
    rows = Rows("r", {"question": ["a", "b", "c"]})
    encoded = Encoded({"input_ids": [[0], [1], [2], [3]]}, [0, 1, 1, 2], beside={"at": [*"wxyz"]})
    outputs = (np.arange(4, dtype=np.float32),)
    drawn = Answers(QUESTION_ANSWERING, PLAN, rows, encoded, outputs).select([1, 1, 0])
    assert [*drawn.encoded.row_of] == [0, 0, 1, 1, 2]
    assert drawn.encoded.features == {"input_ids": [[1], [2], [1], [2], [0]]}
    assert drawn.encoded.beside == {"at": [*"xyxyw"]}
    assert drawn.outputs[0].tolist() == [1, 2, 1, 2, 0]
    assert drawn.rows["question"] == ["b", "b", "a"]


def test_what_rows_have_has_the_metric_for_its_mean() -> None:
    answers = classified([row % 3 > 0 for row in range(20)])
    assert answers.row_values()["accuracy"].mean() == answers.metrics()["accuracy"]
