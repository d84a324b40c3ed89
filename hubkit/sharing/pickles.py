"""Pickled weights become safetensors before anything of them is published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from hubkit.formats.pickles import convert
from registry import Catalog, Manifest
from registry.errors import HubkitError
from registry.folders.contents import (
    PICKLES,
    examine,
    is_hidden,
    is_in_checkpoint,
    is_left_behind,
    list_files,
)
from registry.folders.kinds import PARTS
from registry.folders.safetensors import MAX_HEADER_BYTES
from registry.storage.blobs import BlobStore, copy_blob
from registry.storage.durable import storage_errors
from registry.storage.files import MANIFEST_NAME, FileInfo
from registry.storage.place import Copy, Place


@dataclass(frozen=True, slots=True)
class Pickle:
    """What published weights were made of.

    Attributes:
        name: The file's name.
        sha256: Its digest.
    """

    name: str
    sha256: str


def pickles_of(catalog: Catalog, manifest: Manifest) -> dict[str, Pickle]:
    """The pickles that a version's weights were made of, by the path of the weights.

    Reads the headers of its safetensors files only. What cannot be read is left out: it is for
    those who check bytes to say what is wrong with them.
    """
    found = {}
    for path, info in sorted(manifest.files.items()):
        if not path.endswith(".safetensors"):
            continue
        try:
            with catalog.blobs.open(info.sha256, label=path) as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(min(length, MAX_HEADER_BYTES)))
            made_of = header["__metadata__"]
            found[path] = Pickle(str(made_of["converted_from"]), str(made_of["sha256"]))
        except (HubkitError, OSError, ValueError, KeyError, TypeError):
            continue
    return found


@contextmanager
def without_pickles(folder: Place) -> Iterator[tuple[Place, list[str]]]:
    """Yield a folder with the same files, but safetensors for pickled weights.

    The copy of the weights notes in its metadata which file it was made of (``converted_from``)
    and that file's digest (``sha256``). Other pickles, such as ``training_args.bin``, hidden
    files and what a training leaves behind are left out. Where there is nothing to change, it is
    the folder itself.

    Yields:
        The folder, which messages call as the original, and the names of what was left out for
        being a pickle.

    Raises:
        AdapterError: The weights cannot be loaded without running code.
        FolderError: The folder holds a link or a special file.
        StorageError: The disk is full or not writable.
    """
    with storage_errors("read", folder):
        foreign = folder.is_dir() and not (folder / MANIFEST_NAME).is_file()
        files = list_files(folder) if foreign else set()
    # Checkpoints are not published: the next reader of the folder leaves them out, and says so.
    files = {name for name in files if not is_in_checkpoint(name)} or files
    weights, others = _pickles_in(files)
    left_behind = {name for name in files if is_left_behind(name)}
    if not weights and not others and not left_behind:
        yield folder, []
        return
    with TemporaryDirectory() as scratch:
        clean = Path(scratch)
        for name in sorted(files - left_behind - weights.keys() - {*others}):
            target = clean / name
            with storage_errors("copy", folder / name):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, target)
        for name, safe in weights.items():
            with storage_errors("read", folder / name):
                _convert(folder / name, clean / safe, Pickle(name, examine(folder / name).sha256))
        yield Copy(clean, str(folder), {safe: name for name, safe in weights.items()}), others


def convert_blobs(
    blobs: BlobStore, files: Mapping[str, FileInfo], label: str
) -> dict[str, FileInfo]:
    """Return the files of a tree of blobs with safetensors for pickled weights, stored as blobs.

    The bytes are those that `without_pickles` makes of the same pickle. Other pickles are left out.
    A folder with a manifest, which lists its files, is returned as it is.

    Args:
        blobs: Where the bytes are.
        files: What identifies each file, by path.
        label: What the tree is called, for messages.

    Raises:
        AdapterError: The weights cannot be loaded without running code, or take more memory or
            time than weights of their size do; nothing was stored of them.
        CorruptBlobError: A blob is missing, truncated or altered.
        StorageError: A disk is full or not writable.
    """
    if MANIFEST_NAME in files:
        return dict(files)
    weights, others = _pickles_in({name for name in files if not is_in_checkpoint(name)})
    found = {name: files[name] for name in files.keys() - weights.keys() - {*others}}
    with storage_errors("convert", label), TemporaryDirectory() as scratch:
        for name, safe in weights.items():
            source, target = Path(scratch, name), Path(scratch, safe)
            called = f"{label}/{name}"
            copy_blob(blobs, files[name], source, label=called)
            with storage_errors("read", called):
                _convert(Copy(source, called), target, Pickle(name, files[name].sha256))
                info = examine(Copy(target, called))
                with target.open("rb") as stream:
                    found[safe] = blobs.put(stream, info, label=called)
    return found


def _pickles_in(files: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Return what pickled weights are called as safetensors, and the pickles to leave out."""
    names = {part.pickle: part.weights for part in PARTS}
    pickles = sorted(name for name in files if name.endswith(PICKLES) and not is_hidden(name))
    weights = {name: names[name] for name in pickles if name in names and names[name] not in files}
    return weights, [name for name in pickles if name not in weights]


def _convert(source: Place, target: Path, pickle: Pickle) -> None:
    convert(source, target, {"converted_from": pickle.name, "sha256": pickle.sha256})
