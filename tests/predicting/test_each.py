from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hubkit
from hubkit.predicting import predict_file as module
from hubkit.predicting.each import EachModel, load_each, values_of, versions_of
from hubkit.predicting.predict_file import predict_file
from hubkit.tasks.rows import Rows
from hubkit.training.each.train_each import train_each
from hubkit.training.train import train_adapter
from registry import AdapterRef, Catalog, open_catalog
from registry.errors import AdapterError, ConflictError, DataError, RefNotFoundError
from tests.support.data import job, labelled_text

pytest_plugins = ("tests.support.published",)

USER = AdapterRef.parse("team/user")
USERS = {"ann": "team/user-ann", "Zoë K.": "team/user-Zoe-K", "7": "team/user-7"}
ROWS = [
    *(
        {"user": ("ann", "Zoë K.", "7")[row % 3], "text": f"a {'very ' * row}good"}
        for row in range(7)
    ),
    {"user": "ann", "text": " "},
    {"user": None, "text": ""},
    {"user": " ann ", "text": "the plot was dull"},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A registry with an adapter for each user."""
    folder = tmp_path_factory.mktemp("each") / "home"
    jobs = [
        replace(
            job(name, epochs=8, seed=number),
            data=labelled_text(24 + 4 * number),
            part=("user", value),
        )
        for number, (value, name) in enumerate(USERS.items())
    ]
    train_each(open_catalog(folder), jobs, base=str(base), bottleneck_size=4)
    return folder


@pytest.fixture
def catalog(tmp_path: Path, home: Path) -> Catalog:
    return open_catalog(Path(shutil.copytree(home, tmp_path / "home")))


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def loaded(
    source: Path, catalog: Catalog, column: str = "user", prefix: AdapterRef = USER
) -> EachModel:
    return load_each(versions_of(prefix, source, column, catalog=catalog), column, catalog=catalog)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_row_is_answered_by_the_adapter_of_its_value_and_keeps_its_place(
    catalog: Catalog, tmp_path: Path
) -> None:
    source = write(tmp_path / "rows.jsonl")
    model = loaded(source, catalog)
    assert predict_file(model, source, tmp_path / "out.jsonl") == len(ROWS)
    found = read(tmp_path / "out.jsonl")
    assert [(one["row"], one["user"], one["text"]) for one in found] == [
        (number, row["user"], row["text"]) for number, row in enumerate(ROWS, start=1)
    ]
    assert [one["row"] for one in found if one["label"] is None] == [8, 9]
    for value, name in USERS.items():
        alone = hubkit.load(name, catalog=catalog)
        rows = [one for one in found if (one["user"] or "").strip() == value and one["label"]]
        for one, expected in zip(rows, alone.predict([row["text"] for row in rows]), strict=True):
            assert one["scores"] == pytest.approx(expected.scores, abs=1e-5)
    firsts = [model.predict_block([{"user": user, "text": "good"}])[0][0] for user in USERS]
    assert len({one.score for one in firsts}) == 3  # type: ignore[attr-defined]


def test_blocks_that_are_done_are_not_computed_again(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    source, out = write(tmp_path / "rows.jsonl"), tmp_path / "out.jsonl"
    model = loaded(source, catalog)
    predict_file(model, source, tmp_path / "whole.jsonl")
    with monkeypatch.context() as patch:
        patch.setattr(module, "_join", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            predict_file(model, source, out)
    kept = tmp_path / "out.jsonl.partial" / "000001.jsonl"
    kept.write_text(kept.read_text().replace("very", "much"))
    (kept.parent / "000000.jsonl").unlink()
    with pytest.raises(ConflictError, match="another reading and another version "):
        predict_file(hubkit.load("team/user-ann", catalog=catalog), source, out)
    predict_file(model, source, out)
    found, whole = out.read_text(), (tmp_path / "whole.jsonl").read_text()
    assert found != whole
    assert found.replace("much", "very") == whole


def test_values_without_an_adapter_are_named_with_their_rows(
    catalog: Catalog, tmp_path: Path
) -> None:
    users = ("eve", "ann", "eve", "Ann", "zoe", *(f"u{number}" for number in range(9)))
    source = write(tmp_path / "rows.jsonl", [{"user": user, "text": "good"} for user in users])
    with pytest.raises(DataError, match=r"'ann' and 'Ann' would both be named team/user-Ann"):
        loaded(source, catalog)
    write(source, [row for row in read(source) if row["user"] != "ann"])
    with pytest.raises(RefNotFoundError) as caught:
        loaded(source, catalog)
    message = str(caught.value)
    assert "rows.jsonl: 12 of 12 values of 'user' have no adapter: 'eve' in rows 1, 2 (" in message
    assert "'Ann' in row 3 (team/user-ann@1 is for 'ann'), 'zoe' in row 4 (" in message
    assert message.endswith(") and 7 more.")


@pytest.mark.parametrize("user", [None, "", True, 1.5])
def test_a_row_that_names_no_adapter_is_refused_before_anything_is_computed(
    catalog: Catalog, tmp_path: Path, user: Any
) -> None:
    expected = "row 11: expected a text or a whole number in 'user', which names the adapter"
    source = write(tmp_path / "rows.jsonl", [*ROWS, {"user": user, "text": "good"}])

    def both() -> None:
        model = loaded(source, catalog)
        predict_file(model, source, tmp_path / "out.jsonl")

    with pytest.raises(DataError, match=expected):
        both()
    assert list(tmp_path.glob("out*")) == []


def test_a_column_without_a_value_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [{"user": None, "text": "good"}])
    with pytest.raises(DataError, match=r"rows.jsonl has no value in 'user'"):
        loaded(source, catalog)
    with pytest.raises(DataError, match="has no column 'users'; it has user, text"):
        loaded(source, catalog, "users")


def test_a_column_that_stands_in_for_another_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [{"text": "ann", "review": "good"}])
    model = loaded(source, catalog, "text")
    with pytest.raises(DataError, match="'text' is the name of a column of the task type, which"):
        predict_file(model, source, tmp_path / "out.csv", columns={"text": "review"})


def test_a_value_whose_adapter_is_not_loaded_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    model = loaded(write(tmp_path / "rows.jsonl"), catalog)
    other = write(tmp_path / "other.jsonl", [{"user": "eve", "text": "good"}])
    with pytest.raises(DataError, match="No adapter was loaded for 'eve' in 'user'"):
        predict_file(model, other, tmp_path / "out.csv")


def test_lines_name_no_adapter(catalog: Catalog, tmp_path: Path) -> None:
    model = loaded(write(tmp_path / "rows.jsonl"), catalog)
    (tmp_path / "rows.log").write_text("good\n")
    with pytest.raises(DataError, match=r"rows.log has no columns: expected a \.csv"):
        predict_file(model, tmp_path / "rows.log", tmp_path / "out.csv")


def test_adapters_that_answer_in_different_ways_are_refused(
    catalog: Catalog, base: Path, tmp_path: Path
) -> None:
    data = {"text": ["a good film", "a dull plot"] * 4, "score": [1.0, 0.0] * 4}
    other = replace(job("team/user-eve"), data=Rows("scores", data), task_type="text-regression")
    train_adapter(catalog, other, base=str(base))
    source = write(tmp_path / "rows.jsonl", [*ROWS, {"user": "eve", "text": "good"}])
    with pytest.raises(AdapterError, match="team/user-eve@1 for text-regression regression"):
        loaded(source, catalog)


def test_an_alias_of_the_prefix_is_that_of_each(catalog: Catalog, tmp_path: Path) -> None:
    source = write(tmp_path / "rows.jsonl", [{"user": 7, "text": "good"}])
    best = AdapterRef.parse("team/user@best")
    with pytest.raises(RefNotFoundError, match=r"'7' in row 1 \(there is no team/user-7@best\)"):
        loaded(source, catalog, "user", best)
    catalog.set_alias(AdapterRef.parse("team/user-7"), "best")
    model = loaded(source, catalog, "user", best)
    assert str(model.versions["7"].ref) == "team/user-7@1"


def test_values_have_the_numbers_of_their_first_rows(tmp_path: Path) -> None:
    assert values_of(write(tmp_path / "rows.jsonl"), "user") == {
        "ann": [1, 4, 7, 8, 10],
        "Zoë K.": [2, 5],
        "7": [3, 6],
    }
    many = write(tmp_path / "many.jsonl", ROWS * 3)
    assert values_of(many, "user")["ann"] == [1, 4, 7, 8, 10, 11]
