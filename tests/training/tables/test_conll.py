from __future__ import annotations

from pathlib import Path

import pytest

from hubkit.training.tables.conll import SUFFIXES
from hubkit.training.tables.read import read_table
from registry.errors import DataError

SPACED = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
"""


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_first_column_is_the_token_and_the_last_its_tag(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_text(SPACED)
    table = read_table(path)
    assert table.columns == {
        "tokens": [["EU", "rejects"], ["Peter"]],
        "tags": [["B-ORG", "O"], ["B-PER"]],
    }
    assert table.places == ["line 3", "line 6"]


def test_a_token_may_hold_spaces_where_tabs_separate(tmp_path: Path) -> None:
    path = tmp_path / "data.conll"
    path.write_bytes("New York\tB-LOC\r\n\r\n\t\r\n\xa0\tO\r\n".encode())
    assert read_table(path).columns == {
        "tokens": [["New York"], ["\xa0"]],
        "tags": [["B-LOC"], ["O"]],
    }


def test_a_file_of_one_column_has_no_tags(tmp_path: Path) -> None:
    path = tmp_path / "data.conll"
    path.write_text("EU\nrejects\n")
    assert read_table(path).columns == {"tokens": [["EU", "rejects"]]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("EU B-ORG\nrejects\n", "line 2: expected 2 columns separated by spaces, as in the first"),
        ("EU\tB-ORG\nrejects\t\n", r"line 2: expected 2 columns separated by tabs.*'rejects\\t'"),
        ("EU\tB-ORG\n\nnot it\n", "line 3: expected 2 columns separated by tabs.*'not it'"),
        ("EU B-ORG X\nrejects O\n", "line 2: expected 3 columns"),
        ("-DOCSTART- O\n\n", "has no rows"),
    ],
)
def test_a_line_that_is_not_like_the_first_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "data.bio"
    path.write_text(text)
    with pytest.raises(DataError, match=f"data.bio.*{message}"):
        read_table(path)
