"""Read a manifest or a folder from the blobs, verified byte by byte."""

import os
import shutil
import uuid
from pathlib import Path

from registry.catalog.heal import healing
from registry.errors import FolderError
from registry.manifest import Manifest
from registry.storage.blobs import BlobStore, copy_blob
from registry.storage.durable import fsync_folder, make_folders, storage_errors, write_file
from registry.storage.files import MANIFEST_NAME
from registry.store import Store
from registry.tables.versions import Version


def read_manifest(store: Store, version: Version) -> Manifest:
    """As `Catalog.manifest`."""
    return healing(store, version, lambda: store.manifest(version.ref, version.manifest_digest))


def materialize(store: Store, version: Version, destination: Path) -> Manifest:
    """As `Catalog.materialize`."""
    manifest, label = read_manifest(store, version), str(version.ref)
    healing(store, version, lambda: write_folder(store.blobs, manifest, destination, label))
    return manifest


def write_folder(blobs: BlobStore, manifest: Manifest, destination: Path, label: str) -> None:
    """Write a version's files and ``hubkit.json`` to a new folder: whole, or not at all.

    Args:
        blobs: The blobs of the registry.
        manifest: The manifest of the version.
        destination: The folder to make; it may exist if it is empty.
        label: The name of the version, for messages.

    Raises:
        FolderError: `destination` is a file, or not empty.
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
                copy_blob(blobs, info, target, label=f"{label}: {path}")
            write_file(scratch / MANIFEST_NAME, manifest.to_json())
            os.rename(scratch, destination)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        fsync_folder(destination.parent)
