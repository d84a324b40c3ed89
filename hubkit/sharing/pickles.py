"""Pickled weights become safetensors before anything of them is published."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
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
from registry.storage.durable import storage_errors
from registry.storage.files import MANIFEST_NAME
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
    # Checkpoints are not published: who reads the folder next leaves them out, and says so.
    files = {name for name in files if not is_in_checkpoint(name)} or files
    pickles = {name for name in files if name.endswith(PICKLES) and not is_hidden(name)}
    left_behind = {name for name in files if is_left_behind(name)}
    if not pickles and not left_behind:
        yield folder, []
        return
    with TemporaryDirectory() as scratch:
        clean = Path(scratch)
        for name in sorted(files - left_behind - pickles):
            target = clean / name
            with storage_errors("copy", folder / name):
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, target)
        weights = {part.pickle: part.weights for part in PARTS}
        left_out = sorted(pickles)
        for name in sorted(pickles & weights.keys()):
            if weights[name] not in files:
                _convert(folder, name, clean / weights[name])
                left_out.remove(name)
        made_of = {weights[name]: name for name in pickles - set(left_out)}
        yield Copy(clean, str(folder), made_of), left_out


def _convert(folder: Place, name: str, target: Path) -> None:
    with storage_errors("read", folder / name):
        original = examine(folder / name)
        convert(folder / name, target, {"converted_from": name, "sha256": original.sha256})
