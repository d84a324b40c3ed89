from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas
import pytest

import hubkit
from hubkit.predicting import predict_file as module
from hubkit.predicting.files import File, files_of
from hubkit.predicting.predict_file import predict_file
from registry import Catalog
from registry.errors import ConflictError, DataError, StorageError
from registry.storage.bucket import Bucket

pytest_plugins = ("tests.support.published", "tests.support.object_storage")


def put(url: str, content: bytes) -> None:
    folder, _, key = url.rpartition("/")
    bucket = Bucket(folder)
    bucket.obstore.put(bucket.store, key, content)


def test_a_pattern_names_files_in_order_and_no_folders(tmp_path: Path) -> None:
    for name in ("part-10.csv", "part-2.csv", "part-1.csv", "other.csv", "part-3.csv/inner"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = files_of(str(tmp_path / "part-*.csv"))
    assert [Path(file.called).name for file in found] == ["part-1.csv", "part-10.csv", "part-2.csv"]
    assert len({file.digest for file in found}) == 3


def test_a_file_may_be_called_like_a_pattern(tmp_path: Path) -> None:
    for name in ("a[1].csv", "a1.csv"):
        (tmp_path / name).write_text(name)
    assert files_of(str(tmp_path / "a[1].csv")) == [File.at(str(tmp_path / "a[1].csv"))]


def test_what_names_no_file_is_refused(tmp_path: Path, memory: None) -> None:
    with pytest.raises(DataError, match=r"absent.csv does not exist\."):
        files_of(str(tmp_path / "absent.csv"))
    with pytest.raises(DataError, match=r"No file is called like .*a-\*\.csv\."):
        files_of(str(tmp_path / "a-*.csv"))
    with pytest.raises(DataError, match=r"s3://bucket/absent.csv does not exist\."):
        files_of("s3://bucket/absent.csv")
    for url in ("s3://bucket", "s3://bucket/", "s3://bu*/a.csv"):
        with pytest.raises(DataError, match="names no object: expected s3://BUCKET/FOLDER/NAME"):
            files_of(url)
    with pytest.raises(StorageError, match="'ftp://host/rows' is no object storage"):
        files_of("ftp://host/rows/a.csv")


def test_objects_are_found_by_a_pattern_and_read_from_copies(s3: Any) -> None:
    for name in ("rows/b.csv", "rows/a.csv", "rows/deep/c.csv", "rows/a.txt", "other/a.csv"):
        s3.put_object(Bucket="adapters", Key=name, Body=name.encode())
    found = files_of("s3://adapters/rows/*.csv")
    assert [str(file) for file in found] == [
        "s3://adapters/rows/a.csv",
        "s3://adapters/rows/b.csv",
    ]
    assert [str(file) for file in files_of("s3://adapters/*/a.csv")] == [
        "s3://adapters/other/a.csv",
        "s3://adapters/rows/a.csv",
    ]
    assert files_of("s3://adapters/rows/a.csv") == found[:1]
    with found[0].at_hand() as place:
        assert (str(place), place.name, place.suffix) == (found[0].called, "a.csv", ".csv")
        with open(place, "rb") as file:
            assert file.read() == b"rows/a.csv"
        path = Path(place)
    assert not path.parent.exists()


def test_an_object_that_changed_is_not_read(memory: None) -> None:
    put("s3://bucket/rows/a.csv", b"text\ngood\n")
    (file,) = files_of("s3://bucket/rows/a.csv")
    put("s3://bucket/rows/a.csv", b"text\nbad\n")
    with pytest.raises(StorageError, match=r"a\.csv has changed since it was looked at"):
        file.at_hand().__enter__()
    assert files_of("s3://bucket/rows/a.csv")[0].digest != file.digest


def test_files_and_objects_are_answered_as_one_table(
    trained_catalog: Catalog, tmp_path: Path, memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)
    model = hubkit.load("a", catalog=trained_catalog)
    texts = [f"the film was {'very ' * row}good" for row in range(11)]
    parts = [texts[:5], texts[5:6], texts[6:]]
    for number, part in enumerate(parts):
        content = "".join(f"{text}\n" for text in ["text", *part])
        (tmp_path / f"rows-{number}.csv").write_text(content)
        put(f"s3://bucket/rows/rows-{number}.csv", content.encode())
    (tmp_path / "whole.csv").write_text("".join(f"{text}\n" for text in ["text", *texts]))
    outs = []
    for source in ("whole.csv", "rows-*.csv"):
        outs.append(tmp_path / f"out-{len(outs)}.csv")
        assert predict_file(model, str(tmp_path / source), outs[-1], batch_size=1) == 11
    outs.append(tmp_path / "out-2.csv")
    predict_file(model, "s3://bucket/rows/*.csv", outs[-1], batch_size=1)
    assert outs[0].read_text() == outs[1].read_text() == outs[2].read_text()


def test_an_object_that_changed_is_another_input(
    trained_catalog: Catalog, tmp_path: Path, memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = hubkit.load("a", catalog=trained_catalog), tmp_path / "out.csv"
    put("s3://bucket/rows/a.csv", b"text\ngood\n")

    def breaks_off(*_: object) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(model, "s3://bucket/rows/*.csv", out, engine=breaks_off)
    put("s3://bucket/rows/a.csv", b"text\nbad\n")
    with pytest.raises(ConflictError, match="another input "):
        predict_file(model, "s3://bucket/rows/*.csv", out)


def test_what_is_wrong_in_an_object_is_told_with_its_url(
    trained_catalog: Catalog, tmp_path: Path, memory: None
) -> None:
    model = hubkit.load("a", catalog=trained_catalog)
    put("s3://bucket/rows/a.csv", b"text\ngood\n")
    put("s3://bucket/rows/b.jsonl", b'{"text": 7}\n')
    with pytest.raises(DataError, match=r"s3://bucket/rows/b\.jsonl, line 1: expected Unicode"):
        predict_file(model, "s3://bucket/rows/*", tmp_path / "out.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_files_with_other_columns_are_refused_even_if_no_row_says_something(
    trained_catalog: Catalog, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "rows-1.csv").write_text("text\ngood\n")
    (tmp_path / "rows-2.csv").write_text('text,text_pair\n"",""\n')
    model, out = hubkit.load("a", catalog=trained_catalog), tmp_path / f"out{suffix}"
    with pytest.raises(DataError, match=r"rows-2.csv has the columns text, text_pair, but the "):
        predict_file(model, tmp_path / "rows-*.csv", out)
    assert list(tmp_path.glob("out*")) == []


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("name", ["answers", "zzz"])
def test_predictions_of_an_earlier_run_are_no_rows_of_the_next(
    trained_catalog: Catalog, tmp_path: Path, suffix: str, name: str
) -> None:
    (tmp_path / "rows-1.csv").write_text("text\ngood\n")
    (tmp_path / "rows-2.csv").write_text("text\nbad\n")
    model = hubkit.load("a", catalog=trained_catalog)
    earlier, out = tmp_path / f"{name}{suffix}", tmp_path / "out.txt.csv"
    assert predict_file(model, tmp_path / "*.*", earlier) == 2
    with pytest.raises(DataError, match=rf"{name}\{suffix} begins with the column 'row', as pred"):
        predict_file(model, tmp_path / "*.*", out)
    assert not list(tmp_path.glob("out*"))
    # By itself, or beside others of its kind, it is a table like any other.
    assert predict_file(model, earlier, out) == 2
    assert predict_file(model, tmp_path / "[az]*.*", tmp_path / "again.csv") == 2


@pytest.mark.parametrize("empty", [0, 1, 2])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_empty_part_has_no_rows(
    trained_catalog: Catalog, tmp_path: Path, empty: int, suffix: str
) -> None:
    texts = [["good"], ["bad", "dull"], ["great"]]
    texts[empty] = []
    for number, part in enumerate(texts):
        frame, path = pandas.DataFrame({"text": part}, dtype="str"), tmp_path / f"rows-{number}"
        if suffix == ".csv":
            frame.to_csv(f"{path}{suffix}", index=False)
        else:
            frame.to_parquet(f"{path}{suffix}", index=False)
    model, out = hubkit.load("a", catalog=trained_catalog), tmp_path / "out.csv"
    left = [text for part in texts for text in part]
    assert predict_file(model, tmp_path / f"rows-*{suffix}", out) == len(left)
    assert [line.split(",")[:2] for line in out.read_text().splitlines()[1:]] == [
        [str(number), text] for number, text in enumerate(left, start=1)
    ]


def test_an_empty_part_has_the_columns_of_the_others(
    trained_catalog: Catalog, tmp_path: Path
) -> None:
    pandas.DataFrame({"text": ["good"]}).to_parquet(tmp_path / "rows-1.parquet")
    pandas.DataFrame({"words": []}, dtype="str").to_parquet(tmp_path / "rows-2.parquet")
    model, out = hubkit.load("a", catalog=trained_catalog), tmp_path / "out.csv"
    with pytest.raises(DataError, match=r"rows-2.parquet has no column 'text'; it has words"):
        predict_file(model, tmp_path / "rows-*.parquet", out)
    pandas.DataFrame({"text": []}, dtype="str").to_parquet(tmp_path / "rows-3.parquet")
    with pytest.raises(DataError, match=r"There is no text in .*rows-3.parquet"):
        predict_file(model, tmp_path / "rows-3.parquet", out)


def test_a_file_that_changes_during_the_run_ends_it(
    trained_catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("text\ngood\nbad\n")
    model, look = hubkit.load("a", catalog=trained_catalog), module._look_through

    def looked(*given: Any) -> Any:
        found = look(*given)
        source.write_text("text\nbad\nterrible\n")
        return found

    monkeypatch.setattr(module, "_look_through", looked)
    with pytest.raises(DataError, match=r"rows.csv has changed since this run began"):
        predict_file(model, source, tmp_path / "out.csv")
    assert list(tmp_path.glob("out*")) == []
