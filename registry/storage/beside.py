"""What lies beside the blobs and is none: what nobody knows, and damaged bytes set aside."""

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from registry.storage.blobs import BlobStore
from registry.storage.durable import storage_errors
from registry.storage.object_blobs import ObjectBlobStore

_FOLDER = re.compile(r"sha256(/[0-9a-f]{2}){0,2}")
_BLOB = re.compile(r"sha256/([0-9a-f]{2})/([0-9a-f]{2})/\1\2[0-9a-f]{60}")


def find_strays(blobs: BlobStore) -> Iterator[str]:
    """Yield the path or URL of each file and folder that is not in the place of a blob.

    What is in the place of one that nothing refers to is garbage, and not meant here. A folder that
    cannot be read is left out: the check of the blobs in it tells of it.

    Raises:
        StorageError: The object storage cannot be listed.
    """
    if isinstance(blobs, ObjectBlobStore):
        for item in blobs.bucket.objects("sha256"):
            if not _BLOB.fullmatch(item["path"]):
                yield blobs.bucket.location(item["path"])
    else:
        yield from _strays_in(blobs.root.parent)


def find_set_aside(blobs: BlobStore, digest: str) -> list[str]:
    """Return the paths or URLs of what was once found damaged in the place of a blob, and is kept.

    Raises:
        StorageError: It cannot be listed.
    """
    if isinstance(blobs, ObjectBlobStore):
        keys = [item["path"] for item in blobs.bucket.objects("quarantine")]
        return [blobs.bucket.location(key) for key in sorted(keys) if f"/{digest}-" in key]
    with storage_errors("read", blobs.quarantine):
        return sorted(map(str, blobs.quarantine.glob(f"{digest}-*")))


def _strays_in(folder: Path | str, inside: str = "") -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = f"{inside}{entry.name}"
            expected = _FOLDER if entry.is_dir() else _BLOB
            if not expected.fullmatch(name):
                yield entry.path
            elif expected is _FOLDER:
                yield from _strays_in(entry.path, f"{name}/")
