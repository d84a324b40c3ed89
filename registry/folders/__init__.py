"""What a folder is: its files and the manifest that describes them.

Each kind of folder has a file here with a reader, and a row in `_READERS`: the file that gives
the kind away, and the function that turns such a folder into a `Folder`.
"""

from collections.abc import Callable
from pathlib import Path

from registry.errors import FolderError
from registry.folders.hubkit import Folder, read_hubkit_folder, write_manifest
from registry.folders.unknown import describe
from registry.storage.durable import storage_errors
from registry.storage.files import MANIFEST_NAME

__all__ = ["Folder", "read_folder", "write_manifest"]

_READERS: tuple[tuple[str, Callable[[Path], Folder]], ...] = ((MANIFEST_NAME, read_hubkit_folder),)


def read_folder(path: Path) -> Folder:
    """Read an adapter's folder and check every byte that its manifest lists.

    Raises:
        FolderError: There is no such folder, or it holds no adapter, or not the files its
            manifest lists.
        ManifestError: Its manifest is malformed.
        CorruptBlobError: A file has another size or digest than its manifest says.
        StorageError: A file cannot be read.
    """
    with storage_errors("read", path):
        if not path.is_dir():
            found = "a file" if path.exists() else "nothing"
            raise FolderError(f"Expected an adapter's folder at {path}, found {found}.", path)
        for marker, read in _READERS:
            if (path / marker).is_file():
                return read(path)
        raise FolderError(
            f"{path} is not an adapter's folder: it has no {MANIFEST_NAME}. {describe(path)} "
            "hubkit.save_adapter() in Python writes a folder that can be published.",
            path,
        )
