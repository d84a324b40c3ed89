"""hubkit's own folder: ``hubkit.json`` and exactly the files it lists."""

import os
from dataclasses import dataclass
from pathlib import Path

from registry.errors import CorruptBlobError, FolderError, InvalidNameError
from registry.folders.safetensors import read_header
from registry.manifest import MAX_BYTES, Manifest
from registry.storage.durable import storage_errors, write_file
from registry.storage.files import MANIFEST_NAME, FileInfo, hash_stream, parse_path


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder whose files are what the manifest says.

    Attributes:
        manifest: What the folder holds.
        path: Where it is.
    """

    manifest: Manifest
    path: Path


def read_hubkit_folder(path: Path) -> Folder:
    """Read ``hubkit.json`` and check every file against it.

    Raises:
        FolderError: A file is missing, not listed, no regular file, or not safetensors inside.
        ManifestError: The manifest is malformed.
        CorruptBlobError: A file has another size or digest than the manifest says.
    """
    files = _list_files(path)
    with (path / MANIFEST_NAME).open("rb") as stream:
        manifest = Manifest.from_json(stream.read(MAX_BYTES + 1), str(path / MANIFEST_NAME))
    missing = sorted(manifest.files.keys() - files)
    if missing:
        raise FolderError(
            f"{path} lacks {_listed(missing)}, which its {MANIFEST_NAME} lists. "
            "Copy or pull the whole folder again.",
            missing,
        )
    unlisted = sorted(files - manifest.files.keys())
    if unlisted:
        raise FolderError(
            f"{path} holds {_listed(unlisted)}, which its {MANIFEST_NAME} does not list. "
            "Remove what does not belong to the adapter, or write the folder again.",
            unlisted,
        )
    for name, expected in manifest.files.items():
        found = _examine(path / name)
        if found != expected:
            raise CorruptBlobError(
                f"{path / name}: {MANIFEST_NAME} says {expected}, found {found}. "
                "Copy or pull the whole folder again, or write it again if you meant to edit it.",
                path / name,
            )
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
        files = {name: _examine(path / name) for name in sorted(_list_files(path))}
    # Through JSON, so that what is written is known to be readable.
    listed = manifest.model_copy(update={"files": files})
    written = Manifest.from_json(listed.to_json(), str(path / MANIFEST_NAME))
    write_file(path / MANIFEST_NAME, written.to_json())
    return written


def _list_files(root: Path) -> set[str]:
    """Return the relative paths of all files but the manifest, refusing what does not travel."""
    files = set()
    for folder, folders, names in os.walk(root, onerror=_reraise):
        for name in folders + names:
            path = Path(folder, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise FolderError(
                    f"{path} is a link or a special file; an adapter's folder holds only regular "
                    "files. Replace it by a copy of what it points to.",
                    path,
                )
        for name in names:
            files.add(Path(folder, name).relative_to(root).as_posix())
    files.discard(MANIFEST_NAME)
    for file in files:
        try:
            parse_path(file)
        except InvalidNameError as error:
            raise FolderError(f"{root}: {error} Rename the file.", file) from error
    return files


def _reraise(error: OSError) -> None:
    raise error


def _examine(path: Path) -> FileInfo:
    if path.suffix == ".safetensors":
        read_header(path)
    with path.open("rb") as stream:
        return hash_stream(stream)


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
