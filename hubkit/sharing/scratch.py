"""A folder for what is not published yet, on the disk of the registry that it is for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from registry.storage.durable import make_folders, storage_errors


@contextmanager
def scratch_folder(home: Path) -> Iterator[Path]:
    """Yield an empty folder below a registry's ``cache``, and remove it with all that is in it.

    Raises:
        StorageError: It cannot be made.
    """
    cache = home / "cache"
    with storage_errors("write", cache):
        make_folders(cache)
        folder = TemporaryDirectory(dir=cache, prefix=".", suffix=".tmp")
    with folder as path:
        yield Path(path)
