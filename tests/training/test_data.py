from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hubkit.tasks.table import TASK_TYPES
from hubkit.tasks.task import HeadPlan
from hubkit.tasks.text_classification import TEXT_CLASSIFICATION
from hubkit.tasks.text_regression import TEXT_REGRESSION
from hubkit.training.data import (
    LabelledText,
    read_inputs,
    read_labelled_text,
    read_rows,
)
from hubkit.training.tables.read import read_table
from registry.errors import (
    DataError,
    LabelError,
    MissingColumnError,
    OtherTaskTypeError,
    SingleLabelError,
)
from tests.training.conftest import ROWS, write

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".parquet"])
def test_every_format_gives_the_same_rows(suffix: str, tmp_path: Path) -> None:
    data = read_labelled_text(str(write(tmp_path, suffix)))
    assert data.name == f"data{suffix}"
    assert list(zip(data.texts, data.labels, strict=True)) == ROWS
    assert data.sha256 == LabelledText("other", *zip(*ROWS, strict=True)).sha256


def test_numbers_become_the_names_of_labels(tmp_path: Path) -> None:
    rows = [("one", 1), ("zero", 0)]
    assert read_labelled_text(str(write(tmp_path, ".csv", rows))).labels == ["1", "0"]


@pytest.mark.parametrize("label", [["x"], 1.5, {"a": 1}])
def test_a_label_that_is_no_name_is_refused(label: object, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": "fine", "label": label}) + "\n")
    with pytest.raises(DataError, match=r"line 1: expected a label .*whole number\).* in 'label'"):
        read_labelled_text(str(tmp_path / "d.jsonl"))


def test_an_ending_that_nothing_reads_is_named(tmp_path: Path) -> None:
    (tmp_path / "d.xlsx").write_text("text\tlabel\n")
    with pytest.raises(DataError, match=r"d\.xlsx has the ending '\.xlsx'; expected a \.csv"):
        read_labelled_text(str(tmp_path / "d.xlsx"))


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
    ("name", "content", "message"),
    [
        ("d.parquet", b"nonsense", "cannot be read as Parquet"),
        ("d.jsonl", b'{"text": ', "line 1, column .*: this is not JSON"),
        ("d.csv", b"\xff\xfe\x00bad\n\n", "starts as UTF-16 does"),
        ("d.csv", b"text,label\ngood,a\nb\xe4d,b\n", "line 3: the byte 0xe4 is not utf-8"),
        ("d.csv", b"text,label\ngood,a\nb\0d,b\n", "line 3: expected text, found a NUL byte"),
        ("d.jsonl", b'{"text": "a", "text": "b", "label": "x"}', "found 'text' twice"),
        ("d.jsonl", b'{"text": "a", "label": NaN}', "NaN is not a JSON value"),
        ("d.jsonl", b'{"text": "a", "label": "x"}\n\n{"text": "b"}', "line 2: .* an empty line"),
        ("d.json", b'["a"]', "row 1: expected an object"),
        ("d.csv", b"\x1f\x8b\x08\0", r"d\.csv is compressed by gzip; expected text"),
        ("d.jsonl", b"PK\x03\x04\0", r"d\.jsonl is a zip archive, as Excel files are; expected"),
        ("d.txt", b"PAR1\0", r"d\.txt is a Parquet file; expected text"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_labelled_text(str(tmp_path / name))


@pytest.mark.parametrize("value", [-1, 2, None])
def test_a_class_that_is_none_is_refused(value: int | None, tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    table = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    arrow = table.data.table.set_column(1, "label", [[0, value]])
    data = Dataset(arrow.cast(table.data.table.schema))
    with pytest.raises(DataError, match=r"row 2: expected a (class|label)"):
        read_labelled_text(data)


@pytest.mark.parametrize("labels", [[0.5, 1.5], [1.0, 2.0], [1, "1"], [True, 1], ["a", 1]])
def test_numbers_with_fractions_and_mixed_types_are_no_classes(
    labels: list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"text": "a", "label": one}) + "\n" for one in labels))
    with pytest.raises(DataError, match=r"line [12]: expected (a label|values of one type)"):
        read_labelled_text(path)
    (tmp_path / "d.csv").write_text("text,label\na,1\nb,1.0\n")
    with pytest.raises(DataError, match=r"line 3: .* a number with a fraction is not a class"):
        read_labelled_text(tmp_path / "d.csv")


def test_texts_that_look_like_dates_stay_texts(tmp_path: Path) -> None:
    path = write(tmp_path, ".jsonl", [("2020-01-01", "old"), ("2020-01-02", "new")])
    assert read_labelled_text(path).texts[:] == ["2020-01-01", "2020-01-02"]


def test_a_data_frame_is_read_in_its_order_whatever_its_index() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", "b", "c"], "label": [2, 0, 1]}, index=[2, 0, 1])
    data = read_labelled_text(frame)
    assert (data.texts[:], data.labels[:]) == (["a", "b", "c"], ["2", "0", "1"])
    frame.loc[0, "text"] = None
    with pytest.raises(DataError, match="row 2: expected text in 'text', found None"):
        read_labelled_text(frame)


def test_rows_of_other_task_types_have_their_own_columns(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("text,text_pair,stars\na,b,4.5\nc,d,1\n")
    rows = read_rows(TEXT_REGRESSION, tmp_path / "d.csv", columns={"score": "stars"})
    assert rows.columns == {"text": ["a", "c"], "text_pair": ["b", "d"], "score": [4.5, 1.0]}
    with pytest.raises(MissingColumnError, match="no column 'score'"):
        read_rows(TEXT_REGRESSION, tmp_path / "d.csv")
    (tmp_path / "m.csv").write_text("text,labels\na,x|y\nc,\n")
    several = read_rows(TEXT_CLASSIFICATION, tmp_path / "m.csv")
    assert several.columns == {"text": ["a", "c"], "labels": [["x", "y"], []]}


def test_inputs_need_nothing_that_is_to_be_learned(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("id,text\n1,a\n2,\n")
    found = read_inputs(TEXT_CLASSIFICATION, tmp_path / "d.csv")
    assert list(found) == [[{"text": "a"}, {"text": ""}]]


def test_two_files_of_one_name_are_two_data_sets() -> None:
    one, other = (LabelledText("data.csv", ["a"], [label]) for label in "xy")
    assert one.dataset != other.dataset
    assert one.dataset == LabelledText("data.csv", ["a"], ["x"]).dataset


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv does not exist; expected a \.csv"):
        read_labelled_text(str(tmp_path / "none.csv"))
    with pytest.raises(DataError, match="is a folder"):
        read_labelled_text(str(tmp_path))


def test_one_label_is_not_enough_to_train_on() -> None:
    with pytest.raises(SingleLabelError, match=r"one\.csv has only the label 'x'"):
        TEXT_CLASSIFICATION.fit_plan(LabelledText("one.csv", ["a", "b"], ["x", "x"]))
    plan = TEXT_CLASSIFICATION.fit_plan(LabelledText("two.csv", ["a", "b"], ["y", "x"]))
    assert (plan.labels, plan.outputs) == (("x", "y"), 2)


def test_one_number_in_two_spellings_is_not_two_classes() -> None:
    with pytest.raises(LabelError, match="'01' and '1', which are the same number"):
        TEXT_CLASSIFICATION.fit_plan(LabelledText("d.csv", ["a", "b"], ["1", "01"]))


def test_an_unknown_label_is_counted_and_the_nearest_named() -> None:
    data = LabelledText("d.csv", ["a", "b", "c"], ["positve", "negative", "positve"])
    plan = TEXT_CLASSIFICATION.fit_plan(LabelledText("t", ["a", "b"], ["negative", "positive"]))
    with pytest.raises(LabelError) as caught:
        TEXT_CLASSIFICATION.check(data, plan)
    message = str(caught.value)
    assert "d.csv has the label 'positve' (2 of 3 rows); expected one of 'negative'" in message
    assert "Did you mean positive?" in message


def test_lists_of_classes_are_lists_of_their_names() -> None:
    from datasets import Sequence as Several

    tags = Several(ClassLabel(names=["O", "B-PER"]))
    features = Features({"text": Value("string"), "tags": tags})
    rows = Dataset.from_dict({"text": ["a b"], "tags": [[1, 0]]}, features=features)
    assert read_table(rows).column("tags") == [["B-PER", "O"]]
    rows = Dataset.from_dict({"text": ["a b"], "tags": [[1, -1]]}, features=features)
    with pytest.raises(DataError, match=r"row 1: expected a class of 'tags' from 0 to 1"):
        read_table(rows)


def test_arrays_in_a_data_frame_are_lists() -> None:
    import numpy as np
    import pandas as pd

    frame = pd.DataFrame({"tokens": [np.array(["a", "b"]), ["c"]], "n": [1.0, float("nan")]})
    assert read_table(frame).columns == {"tokens": [["a", "b"], ["c"]], "n": [1.0, None]}


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


@pytest.mark.parametrize(
    ("meant", "content", "fits"),
    [
        ("text-classification", "source,target\na,b\n", "translation"),
        ("text-classification", "text,score\na,1.5\n", "text-regression"),
        ("text-classification", "user,item,rating\na,b,5\n", "ranking"),
        ("text-classification", "tokens,tags\na,O\n", "token-classification"),
        ("text-classification", "question,context,answers\na,b,[]\n", "question-answering"),
        ("text-classification", "prompt,choices,label\na,b|c,b\n", "multiple-choice"),
        ("text-regression", "text,label\na,x\n", "text-classification"),
        ("token-classification", "text,label\na,x\n", "text-classification"),
        ("fill-mask", "source,target\na,b\n", "translation"),
        ("summarization", "image,label\na,x\n", "image-classification"),
    ],
)
def test_columns_of_another_task_type_are_told(
    meant: str, content: str, fits: str, tmp_path: Path
) -> None:
    (tmp_path / "d.csv").write_text(content)
    with pytest.raises(OtherTaskTypeError, match=f"They are columns of {fits}") as caught:
        read_rows(TASK_TYPES[meant], tmp_path / "d.csv")
    assert isinstance(caught.value.found, tuple)
    assert caught.value.found[0] == fits


def test_columns_of_no_task_type_are_missing_columns(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("review,stars\na,5\n")
    for task in TASK_TYPES.values():
        with pytest.raises(MissingColumnError, match="it has review, stars"):
            read_rows(task, tmp_path / "d.csv")
    (tmp_path / "d.csv").write_text("user,item,rating\na,b,5\n")
    with pytest.raises(MissingColumnError, match="no column 'query'; it has user, item, rating"):
        read_rows(TASK_TYPES["ranking"], tmp_path / "d.csv")


def test_numbers_with_fractions_belong_to_another_task_type(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("text,label\na,1.5\n")
    with pytest.raises(OtherTaskTypeError, match=r"line 2: .* learned by text-regression"):
        read_labelled_text(tmp_path / "d.csv")


def test_labels_that_look_like_mistakes_are_told_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    labels = ["Pos", "pos", "POS", "very bad", "very  bad", "None", "None", "none"]
    TEXT_CLASSIFICATION.fit_plan(LabelledText("d", list("abcdefgh"), labels))
    first, second = [record.getMessage() for record in caplog.records]
    assert first.startswith("d: 7 labels differ from another in case or spaces alone")
    assert "'None', 'none'; 'POS', 'Pos', 'pos'; 'very  bad', 'very bad'" in first
    assert second.startswith("d: the label 'None'")
    assert "occurs 2 times" in second


@pytest.mark.parametrize("labels", [["caf\u00e9", "cafe\u0301"], ["\u2764", "\u2764\ufe0f"]])
def test_labels_that_look_the_same_are_refused(labels: list[str]) -> None:
    with pytest.raises(LabelError, match="which look the same; expected one spelling"):
        TEXT_CLASSIFICATION.fit_plan(LabelledText("d", ["a", "b"], labels))


def test_a_label_that_looks_like_one_of_the_head_is_told_apart_from_it() -> None:
    plan = HeadPlan(2, ("bad", "\u2764"), "single_label_classification")
    with pytest.raises(LabelError, match=r"There are '\\u2764\\ufe0f' and '\\u2764', which look"):
        TEXT_CLASSIFICATION.check(LabelledText("d", ["a"], ["\u2764\ufe0f"]), plan)


def test_two_columns_to_learn_from_are_noted_unless_one_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "both.csv"
    path.write_text("text,label,labels\nfine,yes,a|b\nbad,no,c\n")
    assert read_rows(TEXT_CLASSIFICATION, path)["label"] == ["yes", "no"]
    assert "of the columns label and labels, which can stand for each other, label" in caplog.text
    caplog.clear()
    assert "labels" in read_rows(TEXT_CLASSIFICATION, path, columns={"labels": "labels"})
    assert caplog.text == ""


def test_several_labels_in_a_cell_are_a_json_list_or_texts_with_bars_between(
    tmp_path: Path,
) -> None:
    path = tmp_path / "d.csv"
    path.write_text('text,labels\na,"[""x"", ""y""]"\nb,x|y\nc,[]\nd,[dull]\ne,"[1, 2]"\n')
    found = read_rows(TEXT_CLASSIFICATION, path)["labels"]
    assert found == [["x", "y"], ["x", "y"], [], ["[dull]"], ["1", "2"]]
    for printed in ("['x', 'y']", "['x' 'y']", "[ 4 27]"):
        path.write_text(f'text,labels\na,"{printed}"\n')
        with pytest.raises(DataError, match="line 2: expected a list in JSON, not as Python"):
            read_rows(TEXT_CLASSIFICATION, path)
