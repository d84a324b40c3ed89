"""What a folder is: its files and the manifest that describes them.

Each kind of folder has a file here with its reader: ``hubkit.py`` for folders with a manifest,
``peft.py`` and ``adapterhub.py`` for what those libraries write. Only configurations, the model
card and the headers of safetensors files are read, so that it needs no torch.
"""

from registry.errors import FolderError
from registry.folders.adapterhub import read_adapterhub_folder
from registry.folders.folder import Folder, Given
from registry.folders.hubkit import read_hubkit_folder, write_manifest
from registry.folders.kinds import PEFT, find_parts
from registry.folders.peft import read_peft_folder
from registry.storage.durable import storage_errors
from registry.storage.files import MANIFEST_NAME
from registry.storage.place import Place

__all__ = ["Folder", "Given", "read_folder", "write_manifest"]


def read_folder(
    path: Place, given: Given | None = None, *, look_at_numbers: bool = False
) -> Folder:
    """Read an adapter's folder and check all that can be checked without loading a tensor.

    Args:
        path: A folder with a manifest, every byte of which is checked, or one that PEFT or the
            AdapterHub library wrote.
        given: What is known beside it; without meaning for a folder with a manifest.
        look_at_numbers: Whether the weights of a folder with a manifest must be finite, too;
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
        parts = find_parts(path)
        read = read_peft_folder if parts == (PEFT,) else read_adapterhub_folder
        return read(path, parts, given or Given())
