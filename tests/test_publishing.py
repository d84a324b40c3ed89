"""Every kind of folder, published: what stands in the manifest, and what is refused."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hubkit import attach
from hubkit.adapters.loading import load_published
from hubkit.publishing import publish_folder
from hubkit.stored_bases import describe_stored
from registry import AdapterRef, Catalog, Version, open_catalog
from registry.errors import (
    AdapterError,
    BaseModelMismatchError,
    FolderError,
    HubkitError,
    ParentNotFoundError,
)
from registry.search import search
from tests.support.folders import BASE, BERT, FIXTURES, HEAD, PEFT, copy, edit, reshape
from tests.support.models import METHODS, reference_base, reference_outputs, run

PEFT_FOLDERS = sorted(path.parent for path in PEFT.rglob("adapter_config.json"))
LLAMA = FIXTURES / "adapterhub" / "llama" / "base"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return open_catalog(tmp_path / "home")


def publish(catalog: Catalog, folder: Path, name: str = "a", **facts: object) -> Version:
    facts = {"task": "film", **facts}
    return publish_folder(catalog, folder, AdapterRef.parse(name), **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "folder", [PEFT / "lora" / "a", BERT / "seq_bn" / "a", HEAD], ids=["peft", "adapterhub", "head"]
)
@pytest.mark.parametrize("damage", ["config", "weights", "card", "link"])
def test_nothing_is_registered_when_anything_is_wrong(
    catalog: Catalog, tmp_path: Path, folder: Path, damage: str
) -> None:
    broken = copy(folder, tmp_path / "broken")
    if damage == "config":
        (broken / "adapter_config.json").write_text("{")
    elif damage == "card":
        (broken / "README.md").write_bytes(b"\xff")
    elif damage == "link":
        (broken / "link").symlink_to(folder)
    else:
        for path in broken.iterdir():
            if path.suffix in (".safetensors", ".bin"):
                path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(HubkitError):
        publish(catalog, broken)
    assert search(catalog).items == ()
    assert not any(path.is_file() for path in (catalog.home / "blobs").rglob("*"))


def test_a_hubkit_folder_is_held_to_a_base_model_that_is_named(catalog: Catalog) -> None:
    first = publish(catalog, BERT / "seq_bn" / "a", base=str(BASE))
    written = catalog.folder(first)
    again = publish_folder(catalog, written, AdapterRef.parse("b"), base=str(BASE))
    assert again.manifest_digest == first.manifest_digest
    with pytest.raises(BaseModelMismatchError, match="was trained on weights"):
        publish_folder(catalog, written, AdapterRef.parse("b"), base=str(LLAMA))
    late = publish(catalog, BERT / "seq_bn" / "b", "late")
    assert late.base_fingerprint is None
    found = publish_folder(catalog, catalog.folder(late), AdapterRef.parse("late"), base=str(BASE))
    assert found.base_fingerprint == first.base_fingerprint
