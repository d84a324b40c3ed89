"""Trees of blobs, such as those of commits."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from registry.storage.blobs import Arrival, BlobStore
from registry.storage.files import FileInfo


def info_of(content: bytes) -> FileInfo:
    """What identifies these bytes."""
    return FileInfo(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def files_in(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stored(blobs: BlobStore, files: Mapping[str, bytes]) -> dict[str, FileInfo]:
    """Store files as blobs, and return what identifies each."""
    tree = {path: info_of(content) for path, content in files.items()}
    blobs.put_all(
        Arrival(partial(io.BytesIO, content), tree[path], path) for path, content in files.items()
    )
    return tree
