from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hubkit.sharing.pickles import without_pickles
from registry import FolderError
from registry.errors import AdapterError
from tests.support.foreign import BERT, PEFT, copy

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
