"""From blobs back to a folder, verified byte by byte."""

import os
import shutil
import uuid
from pathlib import Path

from registry.errors import CorruptBlobError, FolderError, ManifestError, StorageError
from registry.manifest import Manifest
from registry.storage.blobs import BlobStore
from registry.storage.durable import fsync_folder, make_folders, storage_errors, write_file
from registry.storage.files import MANIFEST_NAME


def write_folder(blobs: BlobStore, manifest: Manifest, destination: Path, label: str) -> None:
    """Write a version's files and ``hubkit.json`` to a new folder: whole, or not at all.

    Args:
        blobs: Where the bytes are.
        manifest: What the folder is to hold.
        destination: The folder to make; it may exist if it is empty.
        label: What is being written, for messages.

    Raises:
        FolderError: `destination` is a file, or holds something.
        CorruptBlobError: A blob is missing, truncated or altered.
        StorageError: The disk is full or not writable.
    """
    with storage_errors("write", destination):
        if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
            raise FolderError(
                f"{destination} is in the way: expected no such folder, or an empty one. "
                "Choose another destination, or move it away.",
                destination,
            )
        make_folders(destination.parent)
        scratch = destination.with_name(f".{uuid.uuid4().hex}.tmp")
        scratch.mkdir()
        try:
            for path, info in sorted(manifest.files.items()):
                target = scratch / path
                make_folders(target.parent)
                blobs.copy_to(info, target, label=f"{label}: {path}")
            write_file(scratch / MANIFEST_NAME, manifest.to_json())
            os.rename(scratch, destination)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        fsync_folder(destination.parent)


def cached_folder(blobs: BlobStore, manifest: Manifest, cache: Path, label: str) -> Path:
    """Return a folder with a version's files, verified now, whoever touched it since.

    Args:
        blobs: Where the bytes are when the folder is missing or damaged.
        manifest: What the folder is to hold.
        cache: Where such folders are kept, each under its manifest's digest.
        label: What is being read, for messages.

    Raises:
        CorruptBlobError: A blob is missing, truncated or altered.
        StorageError: The disk is full or not writable.
    """
    folder = cache / manifest.digest
    if _is_intact(folder, manifest):
        return folder
    if folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
    try:
        write_folder(blobs, manifest, folder, label)
    except (FolderError, StorageError):
        # Another process may have written the same folder a moment earlier.
        if not _is_intact(folder, manifest):
            raise
    return folder


def _is_intact(folder: Path, manifest: Manifest) -> bool:
    from registry.folders import read_folder  # all kinds of folders, which listing never needs

    if not folder.is_dir():
        return False
    try:
        return read_folder(folder).manifest.digest == manifest.digest
    except (FolderError, ManifestError, CorruptBlobError, StorageError):
        return False
