from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hubkit.formats import pickles
from hubkit.sharing.pickles import convert_blobs, without_pickles
from registry import read_folder
from registry.errors import (
    AdapterError,
    DamagedBlobError,
    FolderError,
    PickledWeightsError,
    StorageError,
)
from registry.folders import Given, read_tree
from registry.folders.adapterhub import fused_adapters
from registry.folders.source import BlobFolder
from registry.manifest import Parent
from registry.storage.folder_blobs import FolderBlobStore
from tests.support.foreign import BERT, PEFT, copy
from tests.support.trees import files_in, info_of, stored

SOURCE = BERT / "seq_bn" / "a"
PICKLE, SAFE = "pytorch_adapter.bin", "adapter.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return copy(SOURCE, tmp_path / "a")


def test_pickled_weights_become_the_same_safetensors(folder: Path) -> None:
    (folder / "README.md").write_text("# a card")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with without_pickles(folder) as (clean, left_out):
        assert set(os.listdir(clean)) == {
            "README.md",
            "adapter_config.json",
            SAFE,
        }
        for name in ("README.md", "adapter_config.json"):
            assert Path(clean / name).read_bytes() == before[name]
        found = load_file(clean / SAFE)
        with safe_open(clean / SAFE, "pt") as file:
            metadata = file.metadata()
        assert left_out == []
    expected = torch.load(folder / PICKLE, weights_only=True)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert metadata == {
        "format": "pt",
        "converted_from": PICKLE,
        "sha256": hashlib.sha256(before[PICKLE]).hexdigest(),
    }
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not clean.exists()


def test_the_same_pickle_gives_the_same_bytes(folder: Path) -> None:
    with without_pickles(folder) as (one, _), without_pickles(folder) as (two, _):
        assert Path(one / SAFE).read_bytes() == Path(two / SAFE).read_bytes()


def test_a_folder_with_nothing_to_change_is_taken_as_it_is() -> None:
    with without_pickles(PEFT / "lora" / "a") as (clean, left_out):
        assert (clean, left_out) == (PEFT / "lora" / "a", [])


def test_a_folder_with_a_manifest_is_taken_as_it_is(folder: Path) -> None:
    (folder / "hubkit.json").write_text("{}")
    with without_pickles(folder) as (clean, _):
        assert clean == folder


def test_other_pickles_hidden_files_and_what_training_leaves_behind_are_left_out(
    folder: Path,
) -> None:
    (folder / "training_args.bin").write_bytes(b"anything")
    (folder / "optimizer.pt").write_bytes(b"anything")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("")
    (folder / ".gitattributes").write_text("")
    (folder / "events.out.tfevents.1.host").write_bytes(b"anything")
    with without_pickles(folder) as (clean, left_out):
        assert left_out == ["optimizer.pt", "training_args.bin"]
        assert set(os.listdir(clean)) == {"adapter_config.json", SAFE}


def test_safetensors_win_over_a_pickle_beside_them(folder: Path) -> None:
    save_file({"x": torch.ones(1)}, folder / SAFE)
    with without_pickles(folder) as (clean, left_out):
        assert left_out == [PICKLE]
        assert load_file(clean / SAFE).keys() == {"x"}


def test_tensors_that_share_memory_are_written_apart(folder: Path) -> None:
    whole = torch.arange(6.0).reshape(2, 3)
    torch.save({"all": whole, "row": whole[0], "turned": whole.T}, folder / PICKLE)
    with without_pickles(folder) as (clean, _):
        found = load_file(clean / SAFE)
    assert torch.equal(found["turned"], whole.T)
    assert torch.equal(found["row"], whole[0])


class Code:
    def __reduce__(self) -> Any:
        return print, ("this must not run",)


def write_code(path: Path) -> None:
    path.write_bytes(pickle.dumps({"x": Code()}))


def write_wrapped_code(path: Path) -> None:
    torch.save({"x": Code()}, path)


def write_garbage(path: Path) -> None:
    path.write_bytes(b"garbage")


def write_list(path: Path) -> None:
    torch.save([torch.ones(1)], path)


def write_nothing(path: Path) -> None:
    torch.save({}, path)


@pytest.mark.parametrize(
    "write", [write_code, write_wrapped_code, write_garbage, write_list, write_nothing]
)
def test_a_pickle_that_is_no_plain_weights_is_refused(
    folder: Path, write: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder / PICKLE)
    with (
        pytest.raises(AdapterError, match=r"pytorch_adapter\.bin (is refused|is damaged|.*hold)"),
        without_pickles(folder),
    ):
        pass
    assert "must not run" not in capsys.readouterr().out


def test_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(FolderError, match="is a link"), without_pickles(folder):
        pass


def test_errors_name_the_folder_that_the_user_knows(folder: Path) -> None:
    with (
        pytest.raises(FolderError) as caught,
        without_pickles(folder) as (clean, _),
    ):
        raise FolderError(f"{clean / 'x'} is odd", "x")
    assert (str(caught.value), caught.value.subject) == (f"{folder / 'x'} is odd", "x")


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobStore:
    return FolderBlobStore(tmp_path / "registry")


PICKLED = sorted({path.parent for path in BERT.rglob("*.bin")})


@pytest.mark.parametrize("source", PICKLED, ids=lambda one: str(one.relative_to(BERT)))
def test_a_tree_with_pickles_is_read_as_the_same_folder_is_published(
    blobs: FolderBlobStore, source: Path
) -> None:
    tree = stored(blobs, files_in(source))
    with pytest.raises(PickledWeightsError):
        read_tree(blobs, tree, "bob/film", given_to(source))
    converted = convert_blobs(blobs, tree, "bob/film")
    names = fused_adapters(BlobFolder(blobs, converted, "bob/film"))
    assert names == fused_adapters(source)
    with without_pickles(source) as (clean, _):
        expected = read_folder(clean, given_to(source))
    found = read_tree(blobs, converted, "bob/film", given_to(source))
    assert found.manifest.digest == expected.manifest.digest
    for name, info in found.manifest.files.items():
        with found.open(name) as stream:
            assert info_of(stream.read()) == info


def given_to(folder: Path) -> Given:
    parents = tuple(Parent(ref=f"{one}@1", digest="a" * 64) for one in fused_adapters(folder))
    return Given(labels=None, parents=parents)


def test_of_a_tree_all_other_files_stay_and_other_pickles_go(
    blobs: FolderBlobStore, folder: Path
) -> None:
    others = {
        **{"README.md": b"# a card", ".gitattributes": b"", "checkpoint-1/optimizer.pt": b"x"},
        **{"training_args.bin": b"x", "extra/more.pkl": b"x"},
    }
    tree = stored(blobs, files_in(folder) | others)
    found = convert_blobs(blobs, tree, "bob/film")
    left_out = {PICKLE, "training_args.bin", "extra/more.pkl"}
    assert found.keys() == (tree.keys() | {SAFE}) - left_out
    assert {name: found[name] for name in found.keys() - {SAFE}} == {
        name: tree[name] for name in tree.keys() - left_out
    }
    assert convert_blobs(blobs, found, "bob/film") == found


def test_safetensors_win_over_a_pickle_beside_them_in_a_tree(
    blobs: FolderBlobStore, folder: Path
) -> None:
    tree = stored(blobs, {**files_in(folder), SAFE: b"safe"})
    assert convert_blobs(blobs, tree, "bob/film") == {
        name: info for name, info in tree.items() if name != PICKLE
    }


def test_a_tree_with_a_manifest_is_returned_as_it_is(blobs: FolderBlobStore, folder: Path) -> None:
    tree = stored(blobs, {**files_in(folder), "hubkit.json": b"{}"})
    assert convert_blobs(blobs, tree, "bob/film") == tree


def write_doubling(path: Path) -> None:
    """Write a key whose hash takes 2 ** 60 steps: each tuple holds the one before it twice."""
    key: tuple[object, ...] = ()
    for _ in range(60):
        key = (key, key)
    path.write_bytes(b"\x80\x02}(" + pickle.dumps(key, protocol=2)[2:-1] + b"K\x00u.")


def write_huge(path: Path) -> None:
    """Write a tensor that repeats one number 10 ** 11 times."""
    torch.save({"a": torch.zeros(1).as_strided((400_000, 250_000), (0, 0))}, path)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of a process are those of Linux")
@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (write_code, "is damaged, or no file of weights"),
        (write_wrapped_code, "is refused, because loading it could run code"),
        (write_huge, "is refused: it has .* bytes, but its tensors would take 400000000000"),
        (write_doubling, "is refused: reading it takes more memory or time than weights"),
        (write_garbage, "is damaged, or no file of weights"),
    ],
)
def test_a_pickle_of_a_tree_that_is_refused_is_a_sentence_and_leaves_nothing(
    blobs: FolderBlobStore,
    folder: Path,
    write: Any,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(pickles, "SECONDS", 3)
    write(folder / PICKLE)
    tree = stored(blobs, files_in(folder))
    before = files_in(blobs.root)
    with pytest.raises(AdapterError, match=rf"^bob/film/pytorch_adapter\.bin {problem}"):
        convert_blobs(blobs, tree, "bob/film")
    assert files_in(blobs.root) == before
    assert capfd.readouterr() == ("", "")


def test_a_disk_that_takes_no_copy_is_told_as_that_and_not_of_the_weights(
    blobs: FolderBlobStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = stored(blobs, files_in(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(StorageError, match="Cannot convert bob/film"):
        convert_blobs(blobs, tree, "bob/film")


def test_a_child_that_is_killed_is_a_sentence(
    blobs: FolderBlobStore, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "killed.py"
    child.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    monkeypatch.setattr(pickles, "_CHILD", child)
    torch.save({"x": torch.ones(3)}, folder / PICKLE)
    tree = stored(blobs, files_in(folder))
    with pytest.raises(AdapterError, match=r"^bob/film/pytorch_adapter\.bin is refused: reading"):
        convert_blobs(blobs, tree, "bob/film")


def test_a_pickle_that_is_damaged_where_it_lies_is_not_read(
    blobs: FolderBlobStore, folder: Path
) -> None:
    tree = stored(blobs, files_in(folder))
    blobs.path(tree[PICKLE].sha256).unlink()
    with pytest.raises(
        DamagedBlobError, match=r"^bob/film/pytorch_adapter\.bin: the registry lost"
    ):
        convert_blobs(blobs, tree, "bob/film")
