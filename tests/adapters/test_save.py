from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hubkit import Adapter, Mix, collapse
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.bases.describe import describe
from registry import BaseModelInfo, read_folder
from registry.errors import AdapterError, StorageError
from tests.support.foreign import PEFT
from tests.support.models import random_adapter, tiny_model


def complete() -> Adapter:
    model = tiny_model()
    return replace(random_adapter(model), base=describe(model))


def save(adapter: Adapter, folder: Path, **pictures: bytes) -> None:
    save_folder(adapter, manifest_of(adapter), folder, pictures)


def test_pictures_are_listed_in_the_manifest(tmp_path: Path) -> None:
    save(complete(), tmp_path / "deep" / "new", **{"a.png": b"picture"})
    folder = read_folder(tmp_path / "deep" / "new")
    assert set(folder.manifest.files) == {"a.png", "adapter.safetensors", "adapter_config.json"}
    assert (folder.path / "a.png").read_bytes() == b"picture"


@pytest.mark.parametrize("what", ["save", "write_manifest"])
def test_a_save_that_fails_leaves_the_older_one(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = complete()
    save(adapter, tmp_path / "saved")
    before = read_folder(tmp_path / "saved").manifest.digest

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    target = "hubkit.adapters.save.write_manifest" if what == "write_manifest" else Adapter
    if isinstance(target, str):
        monkeypatch.setattr(target, fail)
    else:
        monkeypatch.setattr(target, "save", fail)
    with pytest.raises(StorageError, match="No space left on device"):
        save(adapter, tmp_path / "saved")
    assert read_folder(tmp_path / "saved").manifest.digest == before
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_swap_that_fails_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = complete()
    save(adapter, tmp_path / "saved")
    before = read_folder(tmp_path / "saved").manifest.digest

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", fail)
        with pytest.raises(StorageError):
            save(adapter, tmp_path / "saved")
    assert read_folder(tmp_path / "saved").manifest.digest == before


def test_what_names_no_base_model_has_no_manifest() -> None:
    with pytest.raises(AdapterError, match="a names no base model"):
        manifest_of(random_adapter(tiny_model()))


def test_a_sum_of_folders_is_saved_when_their_base_model_is_named(tmp_path: Path) -> None:
    folders = [PEFT / "lora" / name for name in "ab"]
    cure = re.escape('Adapter.load(FOLDER, base=registry.BaseModelInfo(id="NAME"))')
    with pytest.raises(AdapterError, match=cure):
        collapse(Mix(*map(Adapter.load, folders))).save(tmp_path / "sum")
    base = BaseModelInfo(id="tiny-bert")
    collapse(Mix(*(Adapter.load(one, base=base) for one in folders))).save(tmp_path / "sum")
    assert read_folder(tmp_path / "sum").manifest.base_model.id == "tiny-bert"


def test_what_adapters_do_not_say_of_their_base_model_is_that_of_the_training() -> None:
    model = tiny_model()
    found = describe(model)
    said = BaseModelInfo(id="team/tiny")
    adapter = replace(random_adapter(model, "a"), base=said)
    assert manifest_of(adapter).base_model == said
    base = manifest_of(adapter, found=found).base_model
    assert found.fingerprint is not None
    assert (base.id, base.fingerprint, base.config) == (
        "team/tiny",
        found.fingerprint,
        found.config,
    )
