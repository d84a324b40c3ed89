from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hubkit.training.tables.read import read_blocks, read_table
from registry.errors import DataError


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


def test_maps_of_a_parquet_file_are_mappings_in_their_place(tmp_path: Path) -> None:
    kind = pyarrow.map_(pyarrow.string(), pyarrow.float64())
    scores = pyarrow.array([[("good", 0.25), ("bad", 0.75)], None, []], kind)
    table = pyarrow.table({"row": [1, 2, 3], "scores": scores, "text": ["a", "b", "c"]})
    pyarrow.parquet.write_table(table, tmp_path / "answers.parquet")
    found = read_table(tmp_path / "answers.parquet")
    assert [*found.columns] == ["row", "scores", "text"]
    assert found.columns["scores"] == [{"good": 0.25, "bad": 0.75}, None, {}]
    assert found.columns["text"] == ["a", "b", "c"]


def test_a_parquet_file_of_maps_alone_has_its_rows(tmp_path: Path) -> None:
    kind = pyarrow.map_(pyarrow.string(), pyarrow.float64())
    table = pyarrow.table({"scores": pyarrow.array([[("good", 0.25)], [("bad", 0.75)]], kind)})
    pyarrow.parquet.write_table(table, tmp_path / "answers.parquet")
    assert read_table(tmp_path / "answers.parquet").columns == {
        "scores": [{"good": 0.25}, {"bad": 0.75}]
    }


@pytest.mark.parametrize("kind", ["string", "Int64", "boolean", "str"])
def test_what_is_missing_in_a_data_frame_is_none(kind: str) -> None:
    values = {"Int64": 1, "boolean": True}
    column = pandas.array([values.get(kind, "a"), None], dtype=kind)
    found = read_table(pandas.DataFrame({"label": column})).columns
    assert found == {"label": [values.get(kind, "a"), None]}


def test_a_data_frame_of_another_library_is_refused() -> None:
    class Frame:
        columns, dtypes = ("text",), (str,)

        def to_dict(self) -> dict[str, Any]:
            return {"text": ["a"]}

    with pytest.raises(DataError, match=r"or a pandas.DataFrame, found Frame"):
        read_table(Frame())  # type: ignore[arg-type]
