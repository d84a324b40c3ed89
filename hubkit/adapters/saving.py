"""Write an adapter or a fusion as a folder: all of it, or nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from registry.errors import FolderError
from registry.folders import write_manifest
from registry.manifest import Manifest
from registry.storage.durable import storage_errors
from registry.storage.files import MANIFEST_NAME


def save_folder(
    composition: Adapter | Fusion,
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
