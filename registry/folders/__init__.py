"""Folders of adapters: their files, and the manifests that describe them.

Each kind of folder has a file here with its reader: ``hubkit.py`` for folders with a manifest,
``peft.py`` and ``adapterhub.py`` for what those libraries write. Only configurations, the model
card and the headers of safetensors files are read, so that it needs no torch.
"""

from collections.abc import Mapping

from registry.errors import FolderError
from registry.folders.adapterhub import read_adapterhub_folder
from registry.folders.contents import is_left_behind
from registry.folders.folder import Folder, Given
from registry.folders.hubkit import read_hubkit_folder, read_hubkit_tree, write_manifest
from registry.folders.kinds import PEFT, find_parts
from registry.folders.peft import read_peft_folder
from registry.folders.source import BlobFolder, Source
from registry.storage.blobs import BlobStore
from registry.storage.durable import storage_errors
from registry.storage.files import MANIFEST_NAME, FileInfo
from registry.storage.place import Place

__all__ = ["Folder", "Given", "read_folder", "read_tree", "write_manifest"]


def read_folder(
    path: Place, given: Given | None = None, *, look_at_numbers: bool = False
) -> Folder:
    """Read an adapter's folder, and check it as far as possible without loading a tensor.

    Args:
        path: A folder with a manifest, every byte of which is checked, or one that PEFT or the
            AdapterHub library wrote.
        given: Facts that the files lack; ignored for a folder with a manifest.
        look_at_numbers: Whether the weights of a folder with a manifest must also be finite;
            default: they are what was published, which its digests tell. Those of other folders
            always must.

    Raises:
        FolderError: There is no such folder, or it holds no adapter, or several, or files that
            contradict each other or its manifest.
        ManifestError: Its manifest is malformed, or what its files say does not fit into one.
        CorruptBlobError: A file has another size or digest than its manifest says.
        StorageError: A file cannot be read.
    """
    with storage_errors("read", path):
        if not path.is_dir():
            found = "a file" if path.exists() else "nothing"
            raise FolderError(f"Expected an adapter's folder at {path}, found {found}.", path)
        if (path / MANIFEST_NAME).is_file():
            return read_hubkit_folder(path, look_at_numbers=look_at_numbers)
        return _read_foreign(path, given)


def read_tree(
    blobs: BlobStore, files: Mapping[str, FileInfo], label: str, given: Given | None = None
) -> Folder:
    """Read an adapter's folder whose files are blobs, such as those of a commit.

    Of configurations and the card all is read, of safetensors files the header, of others nothing:
    sizes and digests are known. Whether weights are finite is not looked at. Hidden files and what
    training leaves beside an adapter are no part of it. What hubkit published to a hub is the
    version that it was here.

    Args:
        blobs: The blobs.
        files: The size and digest of each file, by path. A manifest need not allow the paths.
        label: The name of the folder, for messages.
        given: Facts that the files lack; ignored for a folder with a manifest.

    Raises:
        FolderError: It holds no adapter, or several, or files that contradict each other or its
            manifest, or a file that no manifest can list.
        ManifestError: Its manifest is malformed, or what its files say does not fit into one.
        CorruptBlobError: A file has another size or digest than its manifest says, or bytes are
            missing or altered (DamagedBlobError).
        StorageError: The blobs cannot be read.
    """
    if MANIFEST_NAME in files:
        return read_hubkit_tree(BlobFolder(blobs, files, label))
    kept = {path: info for path, info in files.items() if not is_left_behind(path)}
    return _read_foreign(BlobFolder(blobs, kept, label), given)


def _read_foreign(path: Source, given: Given | None) -> Folder:
    parts = find_parts(path)
    read = read_peft_folder if parts == (PEFT,) else read_adapterhub_folder
    return read(path, parts, given or Given())
