from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hubkit.training.tables.read import read_table
from registry.errors import DataError

ANSWERS = [{"text": "Ada", "answer_start": 0}]
KNOWN = {"id": "q1", "question": "Who?", "answers": ANSWERS, "is_impossible": False}
UNKNOWN = {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True}
PARAGRAPHS = [{"context": "Ada wrote it.", "qas": [KNOWN, UNKNOWN]}, {"context": "", "qas": []}]


def write(folder: Path, document: Any, **how: Any) -> Path:
    path = folder / "train.json"
    path.write_text(json.dumps(document, **how))
    return path


@pytest.mark.parametrize("indent", [None, 2])
def test_each_question_is_a_row_with_its_context(tmp_path: Path, indent: int | None) -> None:
    document = {"version": "v2.0", "data": [{"title": "Ada", "paragraphs": PARAGRAPHS}]}
    table = read_table(write(tmp_path, document, indent=indent))
    assert table.columns == {
        "id": ["q1", "q2"],
        "question": ["Who?", "Why?"],
        "context": ["Ada wrote it."] * 2,
        "answers": [ANSWERS, []],
    }
    assert table.places[1] == "article 1, paragraph 1, question 2"


def test_a_row_with_a_column_of_that_name_is_a_row(tmp_path: Path) -> None:
    assert read_table(write(tmp_path, {"data": "a"})).columns == {"data": ["a"]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "has no rows"),
        (["a", {"paragraphs": []}], "article 1: expected an object"),
        ([{"paragraphs": 1}], "article 1: expected a list 'paragraphs'"),
        ([{"paragraphs": [{}]}], "article 1, paragraph 1: expected a list 'qas'"),
        (
            [{"paragraphs": [{"context": "a", "qas": [UNKNOWN | {"answers": ANSWERS}]}]}],
            "question 1: expected no answers to a question that is_impossible, found 1",
        ),
    ],
)
def test_what_is_not_nested_so_is_refused(tmp_path: Path, data: Any, message: str) -> None:
    with pytest.raises(DataError, match=f"train.json.*{message}"):
        read_table(write(tmp_path, {"data": data}))
