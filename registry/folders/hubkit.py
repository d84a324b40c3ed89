"""hubkit's own folder: ``hubkit.json`` and exactly the files it lists.

On a hub, it has another card: ``README.md`` there is what hubkit wrote of the version for the hub's
filters, and the version's own card lies beside it.
"""

from dataclasses import replace
from pathlib import Path

from registry.errors import CorruptBlobError, FolderError, listed
from registry.folders.card import CARD_NAME
from registry.folders.contents import examine, is_left_behind, list_files
from registry.folders.folder import Folder
from registry.folders.source import BlobFolder, Source, read_source
from registry.folders.weights import examine_weights
from registry.manifest import MAX_BYTES, Manifest
from registry.storage.durable import storage_errors, write_file
from registry.storage.files import MANIFEST_NAME, FileInfo
from registry.storage.place import Place

OWN_CARD = "hubkit-own-card.md"
"""The path on a hub of the card that a version came with."""


def path_there(path: str) -> str:
    """Return the path of a version's file on a hub."""
    return OWN_CARD if path == CARD_NAME else path


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
    manifest = _read_manifest(path)
    _require_listed(path, files, manifest)
    for name, expected in manifest.files.items():
        file = path / name
        if look_at_numbers and name.endswith(".safetensors"):
            weights = examine_weights(file)
            _require_same(file, expected, weights.info)
            weights.require_finite(file)
        else:
            _require_same(file, expected, examine(file))
    return Folder(manifest, path)


def read_hubkit_tree(tree: BlobFolder) -> Folder:
    """Read ``hubkit.json`` and check every file against it: in a folder, or in its copy on a hub.

    Raises:
        FolderError: A file is missing, not listed, or not safetensors inside.
        ManifestError: The manifest is malformed.
        CorruptBlobError: A file has another size or digest than the manifest says.
    """
    manifest = _read_manifest(tree)
    folder = _as_published(tree, manifest)
    _require_listed(folder, list_files(folder), manifest)
    for name, expected in manifest.files.items():
        _require_same(folder / name, expected, examine(folder / name))
    return Folder(manifest, folder)


def _as_published(tree: BlobFolder, manifest: Manifest) -> BlobFolder:
    """Return the version's folder, without files that only a hub has."""
    files = {
        path: info
        for path, info in tree.files.items()
        if path in manifest.files or not is_left_behind(path)
    }
    if CARD_NAME not in manifest.files:
        files.pop(CARD_NAME, None)
    elif OWN_CARD in files and OWN_CARD not in manifest.files:
        files[CARD_NAME] = files.pop(OWN_CARD)
        return replace(tree, files=files, renamed={CARD_NAME: OWN_CARD})
    return replace(tree, files=files)


def _read_manifest(path: Source) -> Manifest:
    where = path / MANIFEST_NAME
    return Manifest.from_json(read_source(where, MAX_BYTES), str(where))


def _require_listed(path: Source, files: set[str], manifest: Manifest) -> None:
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
            "Remove the files that do not belong to the adapter, or write the folder again.",
            unlisted,
        )


def _require_same(path: Source, expected: FileInfo, found: FileInfo) -> None:
    if found != expected:
        raise CorruptBlobError(
            f"{path}: {MANIFEST_NAME} says {expected}, found {found}. "
            "Copy or pull the whole folder again, or write it again if you meant to edit it.",
            path,
        )


def write_manifest(path: Path, manifest: Manifest) -> Manifest:
    """Describe the files of a finished folder and write ``hubkit.json``, replacing an old one.

    Args:
        path: The folder, with all its other files written.
        manifest: The manifest; its `files` are ignored.

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
    # Through JSON, so that the written manifest is known to be readable.
    listed = manifest.model_copy(update={"files": files})
    written = Manifest.from_json(listed.to_json(), str(path / MANIFEST_NAME))
    write_file(path / MANIFEST_NAME, written.to_json())
    return written
