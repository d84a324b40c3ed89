from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from hubkit.training.data import read_inputs
from hubkit.training.tables import read_blocks, read_table
from registry.errors import DataError

ROWS = [{"text": f'text "{i}",\nof two lines', "id": str(i)} for i in range(7)]


def _csv(path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(path, index=False)


def _tsv(path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(path, index=False, sep="\t")


def _jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "\n \n")


def _json(path: Path) -> None:
    path.write_text(json.dumps(ROWS, indent=2))


def _parquet(path: Path) -> None:
    pd.DataFrame(ROWS).to_parquet(path, row_group_size=3)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("write", [_csv, _tsv, _jsonl, _json, _parquet])
def test_blocks_are_the_rows_of_the_table(
    write: Callable[[Path], None], size: int, tmp_path: Path
) -> None:
    path = tmp_path / f"d.{write.__name__.removeprefix('_')}"
    write(path)
    whole, blocks = read_table(path), list(read_blocks(path, size=size))
    assert whole.columns == {name: [row[name] for row in ROWS] for name in ("text", "id")}
    assert [len(block) for block in blocks[:-1]] == [min(size, 7)] * (len(blocks) - 1)
    assert [place for block in blocks for place in block.places] == whole.places
    for name, values in whole.columns.items():
        assert [value for block in blocks for value in block.columns[name]] == values


def test_classes_have_their_names_in_each_block(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = Dataset.from_dict({"text": list("abc"), "label": [0, 1, 1]}, features)
    rows.to_parquet(tmp_path / "d.parquet")
    blocks = list(read_blocks(tmp_path / "d.parquet", size=2))
    assert [block.columns["label"] for block in blocks] == [["no", "yes"], ["yes"]]
    rows = Dataset.from_dict({"text": list("abc"), "label": [0, 1, -1]}, features)
    rows.to_parquet(tmp_path / "e.parquet")
    with pytest.raises(DataError, match="row 3: expected a class"):
        list(read_blocks(tmp_path / "e.parquet", size=2))


def test_a_block_comes_before_what_is_wrong_after_it(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text,id\na,1\nb,2\nc\n")
    blocks = read_blocks(path, size=2)
    assert next(blocks).columns["text"] == ["a", "b"]
    with pytest.raises(DataError, match="line 4: expected 2 fields"):
        next(blocks)


def test_a_column_that_only_later_rows_have_is_empty_before(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows: list[dict[str, Any]] = [{"text": "a"}, {"text": "b", "more": 1}, {"other": 2}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_table(path).columns == {
        "text": ["a", "b", None],
        "more": [None, 1, None],
        "other": [None, None, 2],
    }


def test_an_empty_line_between_json_lines_is_refused_and_at_the_end_is_not(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "b"}\n')
    with pytest.raises(DataError, match="line 2: expected an object, found an empty line"):
        read_table(path)
    path.write_text('{"text": "a"}\n\n')
    assert len(read_table(path)) == 1


def test_inputs_come_in_blocks_with_none_for_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "a"}\n{"text": null}\n{"text": ""}\n')
    found = list(read_inputs(TEXT_CLASSIFICATION, path, size=2))
    assert found == [[{"text": "a"}, {"text": None}], [{"text": ""}]]


def test_inputs_whose_optional_column_begins_later_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "a"}\n{"text": "b", "text_pair": "c"}\n')
    blocks = read_inputs(TEXT_CLASSIFICATION, path, size=1)
    next(blocks)
    with pytest.raises(DataError, match=r"line 2: .* from here on text_pair differs"):
        next(blocks)
