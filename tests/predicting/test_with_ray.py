from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import pytest

from hubkit.inference import load
from hubkit.predicting import predict_file as module
from hubkit.predicting import with_ray
from hubkit.predicting.blocks import Block, Part, Work, here
from hubkit.predicting.each import load_each, versions_of
from hubkit.predicting.files import File
from hubkit.predicting.predict_file import predict_file
from hubkit.predicting.with_ray import RayEngine, _Worker, require_ray
from hubkit.tasks.text_classification import LabelPrediction
from hubkit.training.each.train_each import train_each
from registry import AdapterRef, open_catalog
from registry.errors import DataError, EngineError, FullDiskError
from registry.storage.durable import write_file
from tests.support.data import job, labelled_text
from tests.support.dying import dies_once

pytest_plugins = ("tests.support.published",)

needs_ray = pytest.mark.skipif(
    find_spec("ray") is None and "HUBKIT_TEST_RAY_REQUIRED" not in os.environ,
    reason="Ray is not installed: pip install 'hubkit[ray]'",
)
WORK = Work({}, {}, LabelPrediction, ".jsonl")


@pytest.fixture(scope="module")
def trained_each(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A registry with adapters of two users."""
    folder = tmp_path_factory.mktemp("ray") / "home"
    jobs = [
        replace(job(f"user-{user}", seed=seed), data=labelled_text(24 + seed), part=("user", user))
        for seed, user in enumerate(("ann", "bob"))
    ]
    train_each(open_catalog(folder), jobs, base=str(base), bottleneck_size=4)
    return folder


@pytest.fixture(autouse=True)
def home(trained_each: Path, hubkit_home: Path) -> Path:
    """The user's registry, which has them."""
    return Path(shutil.copytree(trained_each, hubkit_home))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 4)


def write(folder: Path, *sizes: int) -> str:
    """Files with so many rows; the pattern that names them."""
    rows = [
        f"{('ann', 'bob')[row % 2]},{'the film was good '[: 3 * (row % 7)]}\n"
        for row in range(sum(sizes))
    ]
    for file, size in enumerate(sizes):
        start = sum(sizes[:file])
        text = "".join(["user,text\n", *rows[start : start + size]])
        (folder / f"rows-{file}.csv").write_text(text)
    return str(folder / "rows-*.csv")


def alike(found: Path, wanted: Path) -> bool:
    rows, others = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in (found, wanted)
    )
    for row, other in zip(rows, others, strict=True):
        for name in ("score", "scores"):
            assert row.pop(name) == pytest.approx(other.pop(name), abs=1e-6)
    return bool(rows == others)


def children() -> set[int]:
    import psutil

    return {one.pid for one in psutil.Process().children(recursive=True)}


@needs_ray
def test_two_workers_give_the_rows_of_one_process_and_compute_only_what_is_missing(
    tmp_path: Path,
) -> None:
    source, out = write(tmp_path, 9, 3, 10), tmp_path / "out.jsonl"
    refs = versions_of(AdapterRef.parse("user"), source, "user")
    model = load_each(refs, "user")
    predict_file(model, source, tmp_path / "whole.jsonl")

    def breaks_off(work: Work, blocks: Sequence[Block]) -> Iterator[Part]:
        yield from here(model)(work, [block for block in blocks if block.number in (1, 4)])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(model, source, out, engine=breaks_off)
    loader = partial(dies_once, str(tmp_path / "died"), partial(load_each, refs, "user"))
    engine, asked = RayEngine(loader, workers=2), []

    def noted(work: Work, blocks: Sequence[Block]) -> Iterator[Part]:
        for part in engine(work, blocks):
            asked.append(part.block.number)
            yield part

    assert predict_file(model, source, out, engine=noted) == 22
    assert sorted(asked) == [0, 2, 3, 5, 6]
    assert (tmp_path / "died").exists(), "a worker was killed, and another one took its place"
    assert alike(out, tmp_path / "whole.jsonl")


@needs_ray
@pytest.mark.torture
def test_a_full_disk_leaves_a_run_that_goes_on_and_no_process(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write(tmp_path, 30), tmp_path / "out.jsonl"
    model, before = load("user-ann"), children()
    predict_file(model, source, tmp_path / "whole.jsonl")
    engine = RayEngine(partial(load, "user-ann"), workers=2)
    written: list[Path] = []

    def full(path: Path, content: bytes) -> None:
        if len(written) == 3:
            raise FullDiskError(f"Cannot write {path}: the disk is full.", path)
        write_file(path, content)
        written.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_file", full)
        with pytest.raises(FullDiskError):
            predict_file(model, source, out, engine=engine)
    assert [path.suffix for path in written] == [".json", ".jsonl", ".jsonl"]
    assert children() == before
    predict_file(model, source, out, engine=engine)
    assert alike(out, tmp_path / "whole.jsonl")
    assert children() == before
    assert capfd.readouterr() == ("", "")


def test_a_worker_answers_as_this_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # and back, for a worker goes there, too
    write(tmp_path, 9)
    blocks = [Block(at, File(str(tmp_path / "rows-0.csv")), 3 * at, 3 * at, 3) for at in range(3)]
    told = pickle.dumps((partial(load, "user-ann"), WORK, blocks))
    worker = _Worker(str(tmp_path), {}, told)
    found = [pickle.loads(worker({"item": at})["part"]) for at in (1, 2, 0)]
    assert found == list(here(load("user-ann"))(WORK, [blocks[1], blocks[2], blocks[0]]))


def test_what_a_worker_refuses_is_a_value_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    block = Block(0, File(str(tmp_path / "absent.csv")), 0, 0, 3)
    worker = _Worker(str(tmp_path), {}, pickle.dumps((partial(load, "user-ann"), WORK, [block])))
    error = pickle.loads(worker({"item": 0})["part"])
    assert isinstance(error, DataError)
    assert "absent.csv does not exist" in str(error)
    assert error.subject == str(tmp_path / "absent.csv")


def test_without_ray_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(with_ray, "version", absent)
    with pytest.raises(EngineError, match=r"Ray is not installed.*pip install 'hubkit\[ray\]'"):
        require_ray()


def test_ray_is_not_loaded_by_this_process() -> None:
    assert "ray" not in sys.modules
