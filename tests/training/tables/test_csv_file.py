from __future__ import annotations

from pathlib import Path

import pytest

from hubkit.training.data import read_labelled_text
from hubkit.training.tables.read import read_blocks
from registry.errors import DataError, EncodingError, SeparatorError
from tests.training.conftest import write

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_block_comes_before_what_is_wrong_after_it(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text,id\na,1\nb,2\nc\n")
    blocks = read_blocks(path, size=2)
    assert next(blocks).columns["text"] == ["a", "b"]
    with pytest.raises(DataError, match="line 4: expected 2 fields"):
        next(blocks)


def test_a_csv_is_read_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("text,label\n1,01\n2,true\nNA,a1.0\n")
    data = read_labelled_text(str(tmp_path / "d.csv"))
    assert list(data.texts) == ["1", "2", "NA"]
    assert data.labels == ["01", "true", "a1.0"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is an empty file"),
        ("text,label\n", "has no rows"),
        ("text,lable\na,b\n", "no column 'label'; it has text, lable. Did you mean lable?"),
        ("txt,label\na,b\n", "no column 'text'; it has txt, label."),
        ("text,label\nfine,a\n,b\n", "line 3: expected text in 'text', found ''"),
        ("text,label\nfine,a\nb,\n", "line 3: expected a label (one line of"),
        ('text,label\n"  ",a\n', "line 2: expected text in 'text', found '  '"),
        ('text,label\nfine,"a\nb"\n', "whole number) in 'label', found 'a\\nb'"),
    ],
)  # fmt: skip
def test_a_bad_csv_is_refused_with_the_place(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        read_labelled_text(str(tmp_path / "d.csv"))
    assert str(tmp_path / "d.csv") in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_value_is_refused_with_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, ".jsonl", [("a", "x"), ("b", None)])
    with pytest.raises(DataError, match=r"line 2: expected a label .* in 'label', found None"):
        read_labelled_text(str(path))
    path = write(tmp_path, ".jsonl", [("a", "x"), ("b", "y"), (None, "z")])
    with pytest.raises(DataError, match="line 3: expected text in 'text', found None"):
        read_labelled_text(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,label\ngood,positive,5\n", r"line 2: expected 2 fields .*, found 3 fields"),
        ("text,label\ngood\n", r"line 2: expected 2 fields .*, found 1 field"),
        ("text,label\ngood,a\n\nbad,b\n", "line 3: expected a row, found an empty line"),
        ('text,label\n"bad,a\nfine,b\n', "line 2: a quote is opened here and never closed"),
        ('text,label\n"bad,a\nx "y",b\n', "line 2: a quote in this row does not end its field"),
        ("text,label,label\ngood,a,b\n", "found 'label' 2 times"),
        ('text,label\n"two\nlines",a\nbad,b,c\n', "line 4: expected 2 fields"),
    ],
)
def test_a_row_that_is_not_like_the_header_is_refused_with_its_line(
    content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "d.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_labelled_text(str(tmp_path / "d.csv"))


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_another_separator_is_named_and_can_be_given(separator: str, tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"text{separator}label\nGood, nice film{separator}a\n")
    with pytest.raises(SeparatorError) as caught:
        read_labelled_text(path)
    assert (caught.value.given, caught.value.found) == (",", separator)
    assert read_labelled_text(path, separator=separator).texts[:] == ["Good, nice film"]


def test_marks_line_ends_and_blank_lines_at_the_end_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(b"\xef\xbb\xbftext,label\r\ngood,a\r\nbad,b\r\n\r\n\r\n")
    data = read_labelled_text(tmp_path / "d.csv")
    assert (data.texts[:], data.labels[:]) == (["good", "bad"], ["a", "b"])
    (tmp_path / "d.tsv").write_text("text\tlabel\nGood, nice\ta\n")
    assert read_labelled_text(tmp_path / "d.tsv").texts[:] == ["Good, nice"]
    (tmp_path / "latin.csv").write_bytes("text,label\nbäd,b\n".encode("latin-1"))
    assert read_labelled_text(tmp_path / "latin.csv", encoding="latin-1").texts[:] == ["bäd"]
    with pytest.raises(EncodingError, match="no encoding 'klingon'"):
        read_labelled_text(tmp_path / "latin.csv", encoding="klingon")


def test_rows_that_a_quote_may_have_swallowed_are_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "d.csv"
    path.write_text('text,label\nfine,a\n"bad,b\nnice,a\npoor",b\n')
    assert len(read_labelled_text(path)) == 2
    assert "1 field stands in quotes with what looks like whole rows inside" in caplog.text
    assert "begins on line 3" in caplog.text
    caplog.clear()
    path.write_text('text,label\nfine,a\n"two\nlines",b\n')
    assert len(read_labelled_text(path)) == 2
    assert caplog.text == ""
