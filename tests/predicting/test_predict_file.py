from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pandas
import pyarrow.parquet
import pytest

import hubkit
from hubkit import AdaptedModel
from hubkit.predicting import predict_file as module
from hubkit.predicting.predict_file import predict_file
from hubkit.training.tables.read import read_table
from registry import Catalog
from registry.errors import ConflictError, DataError, RunInUseError
from tests.support.models import base_folder

pytest_plugins = ("tests.support.published",)

TEXTS = ["", *(f"the film was {'very ' * (row % 5)}good" for row in range(9)), " ", 'a "dull" plot']


@pytest.fixture
def model(trained_catalog: Catalog) -> AdaptedModel:
    return hubkit.load("a", catalog=trained_catalog)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return path


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
        return [
            {
                "row": int(row["row"]),
                "text": row["text"],
                "label": row["label"] or None,
                "score": float(row["score"]) if row["score"] else None,
                "scores": json.loads(row["scores"]) if row["scores"] else None,
            }
            for row in rows
        ]
    rows = pyarrow.parquet.read_table(path).to_pylist()
    return [row | {"scores": row["scores"] and dict(row["scores"])} for row in rows]


def expected(model: AdaptedModel) -> list[dict[str, Any]]:
    found = iter(model.predict([text for text in TEXTS if text.strip()]))
    rows = []
    for number, text in enumerate(TEXTS, start=1):
        fields = vars(next(found)) if text.strip() else dict.fromkeys(("label", "score", "scores"))
        rows.append({"row": number, "text": text, **fields})
    return rows


def alike(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> bool:
    return len(found) == len(wanted) and all(
        list(one) == list(other)
        and all(
            one[name] == (pytest.approx(other[name], abs=1e-6) if "score" in name else other[name])
            for name in one
            if other[name] is not None or one[name] is not None
        )
        for one, other in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_each_row_has_its_answer_in_order(
    suffix: str, model: AdaptedModel, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"out{suffix}"
    assert predict_file(model, source, out, batch_size=2) == len(TEXTS)
    assert alike(read(out), expected(model))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out")) == [
        out.name
    ]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_run_that_broke_off_goes_on_and_gives_the_same_bytes(
    suffix: str,
    model: AdaptedModel,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}"
    predict_file(model, source, whole)
    asked: list[int] = []
    predict_block = AdaptedModel.predict_block

    def broken(self: AdaptedModel, block: Any, **how: Any) -> Any:
        asked.append(len(block))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return predict_block(self, block, **how)

    with monkeypatch.context() as patch:
        patch.setattr(AdaptedModel, "predict_block", broken)
        with pytest.raises(KeyboardInterrupt):
            predict_file(model, source, out)
        assert not out.exists()
        assert predict_file(model, source, out) == len(TEXTS)
    assert asked == [1, 3, 4, 1, 4, 3], "the first block is not computed again"
    assert out.read_bytes() == whole.read_bytes()
    assert not (tmp_path / f"{out.name}.partial").exists()


def test_blocks_that_are_done_stay_when_a_later_one_is_refused(
    model: AdaptedModel, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.csv"
    predict_block = AdaptedModel.predict_block

    def refuses(self: AdaptedModel, block: Any, **how: Any) -> Any:
        if (tmp_path / "out.csv.partial" / "000000.csv").exists():
            raise DataError("no")
        return predict_block(self, block, **how)

    with monkeypatch.context() as patch:
        patch.setattr(AdaptedModel, "predict_block", refuses)
        with pytest.raises(DataError):
            predict_file(model, source, out)
    assert [path.name for path in tmp_path.glob("out.csv.partial/*.csv")] == ["000000.csv"]
    predict_file(model, source, out)
    assert alike(read(out), expected(model))


def test_an_unfinished_run_is_gone_on_with_by_the_same_run_alone(
    model: AdaptedModel,
    source: Path,
    tmp_path: Path,
    trained_catalog: Catalog,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out.csv"

    def fails(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_join", fails)
        with pytest.raises(KeyboardInterrupt):
            predict_file(model, source, out)
    with pytest.raises(ConflictError, match="another max_length "):
        predict_file(model, source, out, max_length=5)
    with pytest.raises(ConflictError, match="another options "):
        predict_file(model, source, out, options={"top_k": 1})
    with pytest.raises(ConflictError, match="another version "):
        predict_file(hubkit.load("b", catalog=trained_catalog), source, out)
    other = base_folder(tmp_path / "other", seed=1)
    with pytest.raises(ConflictError, match="another base "):
        predict_file(
            hubkit.load("a", base=str(other), allow_base_mismatch=True, catalog=trained_catalog),
            source,
            out,
        )
    # Another base model where the first one was is another base model.
    with monkeypatch.context() as patch:
        patch.setattr(model, "base_digest", "0" * 64)
        with pytest.raises(ConflictError, match="another base "):
            predict_file(model, source, out)
    before = source.read_text()
    source.write_text(before + '{"text": "one more"}\n')
    with pytest.raises(ConflictError, match="another input "):
        predict_file(model, source, out)
    source.write_text(before)
    predict_file(model, source, out)
    assert alike(read(out), expected(model))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_blocks_of_empty_rows_have_the_columns_of_the_others(
    suffix: str, model: AdaptedModel, tmp_path: Path
) -> None:
    source, out = tmp_path / "in.csv", tmp_path / f"out{suffix}"
    source.write_text("text\n" + "\n" * 4 + "good\n" * 4 + '""\n' * 4 + "bad\n")
    assert predict_file(model, source, out) == 13
    found = read(out)
    assert [row["row"] for row in found if row["label"]] == [5, 6, 7, 8, 13]
    assert len({(*row,) for row in found}) == 1


def test_another_process_at_the_same_file_is_waited_for(
    model: AdaptedModel, source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    taken = module._alone(tmp_path / "out.csv.partial", out)
    with taken, pytest.raises(RunInUseError, match="Another process writes"):
        predict_file(model, source, out)
    predict_file(model, source, out)


def test_what_is_wrong_with_the_last_row_is_told_before_anything_is_computed(
    model: AdaptedModel, source: Path, tmp_path: Path
) -> None:
    source.write_text(source.read_text() + '{"text": 3}\n')
    with pytest.raises(DataError, match=rf"line {len(TEXTS) + 1}\b.* expected Unicode text"):
        predict_file(model, source, tmp_path / "out.csv")
    assert {path.name for path in tmp_path.glob("out*")} == set()


def test_a_file_without_text_is_refused(model: AdaptedModel, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("\n" * 9)
    with pytest.raises(DataError, match="There is no text in"):
        predict_file(model, tmp_path / "in.txt", tmp_path / "out.csv")
    assert list(tmp_path.glob("out*")) == []


def test_a_run_that_is_refused_leaves_nothing(
    model: AdaptedModel, source: Path, tmp_path: Path
) -> None:
    for options in ({"top_k": 0}, {"beams": 1}, {"threshold": 0.5}):
        with pytest.raises(DataError):
            predict_file(model, source, tmp_path / "out.csv", options=options)
        assert list(tmp_path.glob("out*")) == []


def test_what_is_there_is_not_written_over(
    model: AdaptedModel, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(ConflictError, match="exists already"):
        predict_file(model, source, tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "mine"


def test_a_text_with_any_end_of_a_line_is_one_cell_of_csv(
    model: AdaptedModel, tmp_path: Path
) -> None:
    texts = ["good\rfilm", "good\nfilm", "good\r\nfilm", "\rgood", 'a "film"\r', "a, b", "good"]
    source, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    predict_file(model, source, out)
    assert [row["text"] for row in read(out)] == texts
    assert read_table(out).column("text") == texts
    assert pandas.read_csv(out)["text"].tolist() == texts
