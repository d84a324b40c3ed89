"""hubkit's own folder: ``hubkit.json`` and exactly the files it lists."""

from pathlib import Path

from registry.errors import CorruptBlobError, FolderError
from registry.folders.contents import examine, list_files, listed
from registry.folders.folder import Folder
from registry.folders.weights import examine_weights
from registry.manifest import MAX_BYTES, Manifest
from registry.storage.durable import storage_errors, write_file
from registry.storage.files import MANIFEST_NAME, open_file
from registry.storage.place import Place


def read_hubkit_folder(path: Place, *, look_at_numbers: bool) -> Folder:
    """Read ``hubkit.json`` and check every file against it.

    Args:
        path: The folder.
        look_at_numbers: Whether weights must be finite, which takes longer than their digests.

    Raises:
        FolderError: A file is missing, not listed, no regular file, or not safetensors inside; or
            weights hold NaN or infinity.
        ManifestError: The manifest is malformed.
        CorruptBlobError: A file has another size or digest than the manifest says.
    """
    files = list_files(path)
    with open_file(path / MANIFEST_NAME) as stream:
        manifest = Manifest.from_json(stream.read(MAX_BYTES + 1), str(path / MANIFEST_NAME))
    missing = sorted(manifest.files.keys() - files)
    if missing:
        raise FolderError(
            f"{path} lacks {listed(missing)}, which its {MANIFEST_NAME} lists. "
            "Copy or pull the whole folder again.",
            missing,
        )
    unlisted = sorted(files - manifest.files.keys())
    if unlisted:
        raise FolderError(
            f"{path} holds {listed(unlisted)}, which its {MANIFEST_NAME} does not list. "
            "Remove what does not belong to the adapter, or write the folder again.",
            unlisted,
        )
    for name, expected in manifest.files.items():
        weights = None
        if look_at_numbers and name.endswith(".safetensors"):
            weights = examine_weights(path / name)
        found = examine(path / name) if weights is None else weights.info
        if found != expected:
            raise CorruptBlobError(
                f"{path / name}: {MANIFEST_NAME} says {expected}, found {found}. "
                "Copy or pull the whole folder again, or write it again if you meant to edit it.",
                path / name,
            )
        if weights is not None:
            weights.require_finite(path / name)
    return Folder(manifest, path)


def write_manifest(path: Path, manifest: Manifest) -> Manifest:
    """Describe the files of a finished folder and write ``hubkit.json``, replacing an old one.

    Args:
        path: The folder, with all its other files written.
        manifest: What the folder holds; its `files` are ignored.

    Returns:
        The manifest that was written.

    Raises:
        FolderError: A file is no regular file, has a name that does not travel, or is not
            safetensors inside.
        ManifestError: The manifest would be too large.
        StorageError: The disk is full or not writable; ``hubkit.json`` is as it was.
    """
    with storage_errors("read", path):
        files = {name: examine(path / name) for name in sorted(list_files(path))}
    # Through JSON, so that what is written is known to be readable.
    listed = manifest.model_copy(update={"files": files})
    written = Manifest.from_json(listed.to_json(), str(path / MANIFEST_NAME))
    write_file(path / MANIFEST_NAME, written.to_json())
    return written
