"""Write an adapter, a fusion or a learned mix as a folder: all of it, or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hubkit.adapters.adapter import NAME_THE_BASE, Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.mix import LearnedMix
from hubkit.adapters.tree import Leaf
from hubkit.bases.compare import completed
from hubkit.bases.parts import parts_of, without_parts
from registry.errors import AdapterError, FolderError
from registry.folders import write_manifest
from registry.manifest import (
    BaseModelInfo,
    HeadInfo,
    Kind,
    Manifest,
    Method,
    Parent,
    manifest_errors,
)
from registry.storage.durable import storage_errors
from registry.storage.files import MANIFEST_NAME


def save_folder(
    composition: Leaf,
    manifest: Manifest,
    folder: Path,
    pictures: dict[str, bytes] | None = None,
) -> None:
    """Write ``composition`` and its manifest to ``folder``, in place of an older one there.

    Args:
        pictures: More files, by name.

    Raises:
        FolderError: ``folder`` is a file, or holds something other than an adapter.
        StorageError: The disk is full or not writable; ``folder`` is as it was.
    """
    if folder.exists() and not (folder / MANIFEST_NAME).is_file() and not _is_empty(folder):
        raise FolderError(
            f"{folder} exists and holds no adapter; expected a new or empty folder, or one with a "
            f"{MANIFEST_NAME} to replace.",
            folder,
        )
    with storage_errors("write", folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
            new, old = Path(scratch, "new"), Path(scratch, "old")
            new.mkdir()
            composition.save(new)
            for name, content in (pictures or {}).items():
                (new / name).write_bytes(content)
            write_manifest(new, manifest)
            if folder.exists():
                shutil.move(folder, old)
            try:
                new.rename(folder)
            except OSError:
                if old.exists():
                    shutil.move(old, folder)
                raise


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def manifest_of(
    composition: Leaf,
    *,
    parents: Sequence[Parent] = (),
    found: BaseModelInfo | None = None,
    **facts: Any,
) -> Manifest:
    """The manifest of an adapter, a fusion or a learned mix, without its files.

    Args:
        composition: What the manifest is to describe.
        parents: The parts of a fusion, pinned by digest, in its order.
        found: The base model that it was trained in, for what its adapters do not say of theirs.
        facts: Other fields, such as ``task``, ``metrics`` and ``training``.

    Raises:
        AdapterError: Nothing says which base model it belongs to.
        ManifestError: The manifest does not allow a fact.
    """
    base = composition.base
    if base is None:
        raise AdapterError(
            f"{composition} names no base model, so it cannot be published. {NAME_THE_BASE}"
        )
    kind, method = _kind(composition)
    if found is not None:
        base = completed(base, found)
    head = composition.head
    modules = () if head is None else parts_of(head.tensors, head.backbone)
    with manifest_errors(f"What is said of {composition}"):
        return Manifest(
            kind=kind,
            method=method,
            base_model=without_parts(base, modules),
            parents=tuple(parents),
            **{
                "labels": () if head is None else head.labels,
                "head": HeadInfo(modules=modules) if modules else None,
                **facts,
            },
        )


def _kind(composition: Leaf) -> tuple[Kind, Method]:
    if isinstance(composition, Adapter):
        method = composition.method
        return "adapter", Method(type=method.type, parameters=method.parameters)
    shared = {"shared": True} if composition.shared else {}
    if isinstance(composition, LearnedMix):
        learned = "vectors" if composition.vectors else "numbers"
        return "mix", Method(type="mix", parameters={"learned": learned, **shared})
    assert isinstance(composition, Fusion)
    value = any(layer.value is not None for layer in composition.layers.values())
    left_out = {"leave_out": [*composition.leave_out]} if composition.leave_out else {}
    return "fusion", Method(type="fusion", parameters={"value": value, **shared, **left_out})
