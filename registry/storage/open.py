"""Which store holds the blobs of a registry."""

from pathlib import Path

from registry.storage.blobs import BlobStore
from registry.storage.folder_blobs import FolderBlobStore


def open_blobs(root: Path, url: str | None = None) -> BlobStore:
    """Return the blobs of a registry.

    Args:
        root: The registry's folder.
        url: Where the blobs are, such as ``s3://bucket/folder``; default: in `root`.

    Raises:
        StorageError: `url` is malformed, or its client is not installed.
    """
    if url is None:
        return FolderBlobStore(root)
    from registry.storage.object_blobs import ObjectBlobStore  # its client takes long to load

    return ObjectBlobStore(url)
