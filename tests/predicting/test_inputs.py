from __future__ import annotations

import pytest

from hubkit.predicting.inputs import row_of
from hubkit.tasks.question_answering import QUESTION_ANSWERING
from registry.errors import DataError


@pytest.mark.parametrize(
    ("source", "line", "place"),
    [("argument 2", None, "argument 2: "), ("rows.txt", 7, "rows.txt, line 7: ")],
)
def test_a_row_of_the_wrong_form_is_told_with_its_place(
    source: str, line: int | None, place: str
) -> None:
    for text, message in (
        ("Who?", "a row of this adapter has several columns; expected a JSON object"),
        ('{"question": "Who?"}', "'context' is missing"),
        ('{"question": "Who?", "context": 1}', "expected Unicode text in 'context', found 1"),
        ('{"query": "Who?"}', "found 'query'"),
    ):
        with pytest.raises(DataError, match=f"^{place}.*{message}"):
            row_of(QUESTION_ANSWERING, text, source, line, objects=True)
