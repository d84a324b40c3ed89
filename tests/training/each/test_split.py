from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest

from hubkit.tasks.table import TASK_TYPES
from hubkit.training.data import read_rows
from hubkit.training.each.split import names_of, read_each
from registry import AdapterRef
from registry.errors import DataError, HubkitError, InvalidNameError

TEXT = TASK_TYPES["text-classification"]
USER = AdapterRef.parse("team/user")


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_each_value_has_the_rows_that_a_file_of_its_own_would_have(tmp_path: Path) -> None:
    whole = write(tmp_path / "r.csv", "user,text,label", "7,a,x", "9,b,y", "7,c,y")
    found = read_each(TEXT, whole, "user")
    assert list(found) == ["7", "9"]
    own = read_rows(TEXT, write(tmp_path / "own.csv", "text,label", "a,x", "c,y"))
    assert found["7"].sha256 == own.sha256
    assert dict(found["9"].columns) == {"text": ["b"], "label": ["y"]}


def test_rows_with_one_query_are_taken_together_for_each_value_alone() -> None:
    table = pandas.DataFrame(
        {
            "user": ["u", "v", "u"],
            "query": ["q", "q", "q"],
            "candidates": ["a", "a", "b"],
            "relevance": [1, 0, 0],
        }
    )
    found = read_each(TASK_TYPES["ranking"], table, "user")
    assert found["u"]["candidates"] == [["a", "b"]]
    assert found["v"]["relevance"] == [[0.0]]


@pytest.mark.parametrize("value", ["", None, 1.5, True])
def test_a_row_without_an_adapter_is_refused_with_its_place(value: Any) -> None:
    table = pandas.DataFrame({"user": [value], "text": ["a"], "label": ["x"]}, dtype=object)
    with pytest.raises(DataError, match="row 1: expected a text or a whole number in 'user'"):
        read_each(TEXT, table, "user")


def test_a_number_and_a_text_of_it_are_not_taken_for_one_adapter() -> None:
    table = pandas.DataFrame({"user": [1, "1"], "text": ["a", "b"], "label": ["x", "y"]})
    with pytest.raises(DataError, match="expected values of one type in 'user'"):
        read_each(TEXT, table, "user")


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "user,text,label", "7,a,x")
    with pytest.raises(DataError, match="has no column 'users'; it has user, text, label"):
        read_each(TEXT, path, "users")


def test_values_become_legal_names() -> None:
    values = ("17", "Zoë K.", "ann@x.org", "a..b")
    assert [str(ref) for ref in names_of(USER, values).values()] == [
        "team/user-17",
        "team/user-Zoe-K",
        "team/user-ann-x.org",
        "team/user-a.b",
    ]


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (("Ann", "ann"), DataError, r"'Ann' and 'ann' would both be named team/user-ann"),
        (("a b", "a-b"), DataError, r"'a b' and 'a-b' would both be named"),
        (("日本",), InvalidNameError, "'日本' has no ASCII letter or digit"),
        (("x" * 96,), InvalidNameError, "1 to 96 ASCII letters"),
    ],
)
def test_values_without_a_name_of_their_own_are_refused(
    values: tuple[str, ...], kind: type[HubkitError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        names_of(USER, values)
