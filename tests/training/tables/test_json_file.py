from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hubkit.training.tables.read import read_table
from registry.errors import DataError

FRAME = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]})


def test_an_empty_line_between_json_lines_is_refused_and_at_the_end_is_not(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "b"}\n')
    with pytest.raises(DataError, match="line 2: expected an object, found an empty line"):
        read_table(path)
    path.write_text('{"text": "a"}\n\n')
    assert len(read_table(path)) == 1


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (FRAME.to_json(orient="columns"), r"an object of objects \(columns or index, to pandas"),
        (FRAME.to_json(orient="index"), r"an object of objects \(columns or index, to pandas"),
        (FRAME.to_json(orient="split"), r"an object with columns and data \(split, to pandas"),
        (FRAME.to_json(orient="table"), r"an object with a schema and data \(table, to pandas"),
        ('{"text": ["a", "b"], "label": ["x", "y"]}', "a list for each of 'text', 'label'"),
        ('{"version": 2, "data": [{"text": "a"}]}', "an object with rows inside of 'data'"),
        ('{"en": [{"text": "a"}], "de": [{"text": "b"}]}', "rows inside of 'en', 'de'"),
        ('{"text": "a",\n"label": "x"}', "a single object"),
    ],
)
@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_json_of_another_form_is_refused_by_what_it_is(
    document: str, found: str, end: str, tmp_path: Path
) -> None:
    (tmp_path / "d.json").write_text(document + end)
    with pytest.raises(DataError, match=f"d.json: expected a list of objects, .* found .*{found}"):
        read_table(tmp_path / "d.json")


@pytest.mark.parametrize(
    "row",
    [
        {"tokens": ["a", "b"], "tags": ["O", "O"]},
        {"text": "a", "spans": [{"start": 0, "end": 1, "label": "x"}]},
    ],
)
def test_a_single_line_of_json_lines_may_hold_lists(row: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps(row) + "\n")
    assert read_table(tmp_path / "d.jsonl").columns == {name: [row[name]] for name in row}


def test_a_first_line_longer_than_a_chunk_is_a_row_among_others(tmp_path: Path) -> None:
    texts = ["a" * 300_000, "b" * 300_000, "c"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "d.jsonl").write_text(lines)
    assert read_table(tmp_path / "d.jsonl").columns == {"text": texts}
