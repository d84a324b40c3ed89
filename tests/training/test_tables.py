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


FRAME = pd.DataFrame({"text": ["a", "b"], "label": ["x", "y"]})


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


def test_a_file_of_texts_is_a_table_of_its_lines_that_say_something(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_bytes(b'\xef\xbb\xbfone, two\r\n\r\n \n"three\n\n')
    table = read_table(tmp_path / "d.txt")
    assert table.columns == {"text": ["one, two", '"three']}
    assert table.places == ["line 1", "line 4"]
    assert [len(block) for block in read_blocks(tmp_path / "d.txt", size=1)] == [1, 1]
    (tmp_path / "d.txt").write_text("\n \n")
    with pytest.raises(DataError, match=r"d\.txt has no rows"):
        read_table(tmp_path / "d.txt")


def test_a_data_set_with_a_transform_is_what_the_transform_makes_of_it() -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = Dataset.from_dict({"text": list("abc"), "label": [0, 1, 1]}, features)

    def shout(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {"text": [text.upper() for text in batch["text"]], "label": batch["label"]}

    found = read_table(rows.with_transform(shout)).columns
    assert found == {"text": ["A", "B", "C"], "label": ["no", "yes", "yes"]}
    rows.set_transform(lambda batch: {"words": [[one, one] for one in batch["text"]]})
    assert read_table(rows).columns == {"words": [["a", "a"], ["b", "b"], ["c", "c"]]}


@pytest.mark.parametrize("kind", ["numpy", "pandas", "arrow", "python"])
def test_a_format_of_a_data_set_hides_columns_and_changes_no_value(kind: str) -> None:
    rows = Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"], "score": [0.1, 0.2]})
    shown = rows.with_format(kind, columns=["text", "score"])
    assert read_table(shown).columns == {"text": ["a", "b"], "score": [0.1, 0.2]}
