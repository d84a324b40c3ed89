from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from hubkit.training.data import LabelledText, check_trainable, read_labelled_text
from registry.errors import DataError, LabelError

ROWS = [('fine, "quoted"', "yes"), ("NA", "no"), ("two\nlines", "yes"), ("null", "nan")]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    folder = tmp_path_factory.mktemp("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)


def write(folder: Path, suffix: str, rows: Sequence[tuple[Any, Any]] = ROWS) -> Path:
    path = folder / f"data{suffix}"
    table = Dataset.from_dict({"text": [row[0] for row in rows], "label": [row[1] for row in rows]})
    if suffix == ".csv":
        table.to_csv(path, index=False)
    elif suffix == ".parquet":
        table.to_parquet(path)
    else:
        lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
        path.write_text("\n".join(lines) + "\n" if suffix == ".jsonl" else f"[{','.join(lines)}]")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    data = read_labelled_text(str(write(tmp_path, suffix)))
    assert data.name == f"data{suffix}"
    assert list(zip(data.texts, data.labels, strict=True)) == ROWS
    assert data.label_names == ("nan", "no", "yes")
    assert data.sha256 == LabelledText("other", *zip(*ROWS, strict=True)).sha256


def test_numbers_become_the_names_of_labels(tmp_path: Path) -> None:
    rows = [("one", 1), ("zero", 0)]
    assert read_labelled_text(str(write(tmp_path, ".csv", rows))).labels == ["1", "0"]


def test_a_csv_is_read_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("text,label\n1,01\n2,true\nNA,1.0\n")
    data = read_labelled_text(str(tmp_path / "d.csv"))
    assert list(data.texts) == ["1", "2", "NA"]
    assert data.labels == ["01", "true", "1.0"]


@pytest.mark.parametrize("label", [["x"], 1.5, {"a": 1}])
def test_a_label_that_is_no_name_is_refused(label: object, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": "fine", "label": label}) + "\n")
    with pytest.raises(DataError, match=r"row 1: expected a label in 'label' .*whole number"):
        read_labelled_text(str(tmp_path / "d.jsonl"))


def test_an_ending_that_nothing_reads_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.tsv").write_text("text\tlabel\n")
    with pytest.raises(DataError, match=r"d\.tsv has the ending '\.tsv'; expected a \.csv"):
        read_labelled_text(str(tmp_path / "d.tsv"))


def test_class_labels_keep_their_names(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    table = Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    table.to_parquet(tmp_path / "d.parquet")
    assert read_labelled_text(str(tmp_path / "d.parquet")).labels == ["good", "bad"]


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("review,stars\nfine,five\n")
    data = read_labelled_text(str(tmp_path / "d.csv"), text_column="review", label_column="stars")
    assert (data.texts[:], data.labels) == (["fine"], ["five"])


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, ".csv", [("old", "x")])
    assert read_labelled_text(str(path)).texts[:] == ["old"]
    write(tmp_path, ".csv", [("new one", "x")])
    assert read_labelled_text(str(path)).texts[:] == ["new one"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is an empty file"),
        ("text,label\n", "has no rows"),
        ("text,lable\na,b\n", "no column 'label'; it has text, lable. Did you mean lable? Name it "
         "with --label-column"),
        ("txt,label\na,b\n", "no column 'text'; it has txt, label."),
        ("text,label\nfine,a\n,b\n", "row 2: expected text in 'text', found ''"),
        ("text,label\nfine,a\nb,\n", "row 2: expected a label in 'label' (one line of"),
        ('text,label\n"  ",a\n', "row 1: expected text in 'text', found '  '"),
        ('text,label\nfine,"a\nb"\n', "whole number), found 'a\\nb'"),
    ],
)  # fmt: skip
def test_a_bad_csv_is_refused_with_the_place(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        read_labelled_text(str(tmp_path / "d.csv"))
    assert str(tmp_path / "d.csv") in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_value_is_refused_with_the_row(tmp_path: Path) -> None:
    path = write(tmp_path, ".jsonl", [("a", "x"), ("b", None)])
    with pytest.raises(DataError, match=r"row 2: expected a label in 'label' .*, found None"):
        read_labelled_text(str(path))
    path = write(tmp_path, ".jsonl", [("a", "x"), ("b", "y"), (None, "z")])
    with pytest.raises(DataError, match="row 3: expected text in 'text', found None"):
        read_labelled_text(str(path))


@pytest.mark.parametrize(
    ("name", "content"),
    [("d.parquet", b"nonsense"), ("d.jsonl", b'{"text": '), ("d.csv", b"\xff\xfe\x00bad\n\n")],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        read_labelled_text(str(tmp_path / name))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv does not exist; expected a \.csv"):
        read_labelled_text(str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match="is a folder"):
        read_labelled_text(str(tmp_path))


def test_one_label_is_not_enough_to_train_on() -> None:
    with pytest.raises(LabelError, match=r"one\.csv has only the label 'x'"):
        check_trainable(LabelledText("one.csv", ["a", "b"], ["x", "x"]))
    check_trainable(LabelledText("two.csv", ["a", "b"], ["x", "y"]))


def test_an_unknown_label_is_counted_and_the_nearest_named() -> None:
    data = LabelledText("d.csv", ["a", "b", "c"], ["positve", "negative", "positve"])
    assert data.label_ids(("negative", "positve")) == [1, 0, 1]
    with pytest.raises(LabelError) as caught:
        data.label_ids(("negative", "positive"))
    message = str(caught.value)
    assert "d.csv has the label 'positve' (2 of 3 rows); expected one of 'negative'" in message
    assert "Did you mean positive?" in message


labelled = st.lists(st.sampled_from("abc"), min_size=2, max_size=60).filter(
    lambda labels: min(Counter(labels).values()) >= 2
)


@settings(max_examples=60)
@given(labelled, st.integers(0, 2**31))
def test_the_two_parts_are_disjoint_complete_stratified_and_the_same_every_time(
    labels: list[str], seed: int
) -> None:
    data = LabelledText("d", [f"text {i}" for i in range(len(labels))], labels)
    train, held_out = data.split(seed)
    texts = [*train.texts, *held_out.texts]
    assert sorted(texts) == sorted(data.texts)
    of = dict(zip(data.texts, data.labels, strict=True))
    for part in (train, held_out):
        assert [of[text] for text in part.texts] == list(part.labels)
    assert set(train.labels) == set(labels)
    classes = len(set(labels))
    assert len(held_out) == max(classes, len(labels) // 5)
    for label, rows in Counter(labels).items():
        expected = rows * len(held_out) / len(labels)
        assert abs(Counter(held_out.labels)[label] - expected) <= 1
    assert data.split(seed) == (train, held_out)


def test_seeds_split_differently() -> None:
    data = LabelledText("d", [f"text {i}" for i in range(40)], ["a", "b"] * 20)
    assert data.split(1)[1].texts != data.split(2)[1].texts


def test_at_most_five_hundred_rows_are_held_out() -> None:
    data = LabelledText("d", [f"text {i}" for i in range(4000)], ["a", "b"] * 2000)
    train, held_out = data.split(0)
    assert (len(train), len(held_out)) == (3500, 500)
    assert Counter(held_out.labels) == {"a": 250, "b": 250}


def test_a_label_with_a_single_row_cannot_be_split() -> None:
    with pytest.raises(LabelError, match="a single row with the label 'rare'"):
        LabelledText("d", list("abcde"), ["x", "x", "x", "x", "rare"]).split(0)
