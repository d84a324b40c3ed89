"""Which store holds the records of a registry."""

from pathlib import Path

from registry.log.folder_records import FolderRecordStore
from registry.log.records import RecordStore


def open_records(root: Path, url: str | None = None) -> RecordStore:
    """Return the records of a registry, which are kept where its blobs are.

    Args:
        root: The registry's folder.
        url: Where the records are, such as ``s3://bucket/folder``; default: in `root`.

    Raises:
        StorageError: `url` is malformed, or its client is not installed.
    """
    if url is None:
        return FolderRecordStore(root)
    from registry.log.object_records import ObjectRecordStore  # its client takes long to load

    return ObjectRecordStore(url)
