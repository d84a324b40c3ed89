from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hubkit.training.tables.read import read_blocks, read_table
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


def test_a_column_that_only_later_rows_have_is_empty_before(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows: list[dict[str, Any]] = [{"text": "a"}, {"text": "b", "more": 1}, {"other": 2}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_table(path).columns == {
        "text": ["a", "b", None],
        "more": [None, 1, None],
        "other": [None, None, 2],
    }


def test_a_file_of_texts_is_a_table_of_its_lines_that_say_something(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_bytes(b'\xef\xbb\xbfone, two\r\n\r\n \n"three\n\n')
    table = read_table(tmp_path / "d.txt")
    assert table.columns == {"text": ["one, two", '"three']}
    assert table.places == ["line 1", "line 4"]
    assert [len(block) for block in read_blocks(tmp_path / "d.txt", size=1)] == [1, 1]
    (tmp_path / "d.txt").write_text("\n \n")
    with pytest.raises(DataError, match=r"d\.txt has no rows"):
        read_table(tmp_path / "d.txt")
