"""The files of a folder, with the size and the digest of each."""

import os
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from registry.errors import FolderError, InvalidNameError, PickledWeightsError, listed
from registry.folders.kinds import PARTS
from registry.folders.safetensors import read_header
from registry.folders.source import BlobFolder, Source
from registry.folders.weights import examine_weights
from registry.storage.files import MANIFEST_NAME, FileInfo, hash_stream, open_file, parse_path
from registry.storage.place import Place

PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
"""The endings of files that may be pickles, which can run code on loading."""

_CHECKPOINT = re.compile(r"(?:.*/)?checkpoint-\d+(?=/)")
_HIDDEN = re.compile(r"(?:.*/)?\..*", re.DOTALL)
# Files that transformers' Trainer writes beside a model, and TensorBoard during training.
_OF_TRAINING = re.compile(
    r"(?:.*/)?(?:training_args\.bin|optimizer\.(?:bin|pt)|(?:scheduler|scaler)\.pt|"
    r"rng_state(?:_\d+)?\.pth|events\.out\.tfevents\.[^/]*)",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Contents:
    """The files of a folder that other tools wrote.

    Attributes:
        files: The size and digest of each file to publish, by path.
        notes: Sentences about them, for people.
    """

    files: dict[str, FileInfo]
    notes: tuple[str, ...]


def list_files(root: Source) -> set[str]:
    """Return the relative paths of all files but the manifest; refuse files that cannot be copied.

    Raises:
        FolderError: One is a link, a special file, or has a name that some system refuses.
        OSError: A folder cannot be read.
    """
    files = {*root.files} if isinstance(root, BlobFolder) else _walk(root)
    files.discard(MANIFEST_NAME)
    for file in files:
        try:
            parse_path(file)
        except InvalidNameError as error:
            raise FolderError(f"{root}: {error} Rename the file.", file) from error
    return files


def _walk(root: Place) -> set[str]:
    files = set()
    for folder, folders, names in os.walk(root, onerror=_reraise):
        for name in folders + names:
            path = Path(folder, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                odd = root / path.relative_to(root).as_posix()
                raise FolderError(
                    f"{odd} is a link or a special file; an adapter's folder holds only regular "
                    "files. Replace it by a copy of what it points to.",
                    odd,
                )
        for name in names:
            files.add(Path(folder, name).relative_to(root).as_posix())
    return files


def examine(path: Source) -> FileInfo:
    """Return size and digest of a file; the header of a safetensors file is checked too.

    Raises:
        FolderError: It is called ``.safetensors`` and is not sound.
        OSError: It cannot be read.
    """
    if path.suffix == ".safetensors":
        read_header(path)
    if isinstance(path, BlobFolder):
        return path.info
    with open_file(path) as stream:
        return hash_stream(stream)


def examine_all(root: Source) -> Contents:
    """Examine every file of a folder that other tools wrote, each in one pass.

    Checkpoints of a training run are left out: they hold other weights, and its state. The weights
    of a tree are not looked at.

    Raises:
        FolderError: As `list_files` and `examine`, or weights on the disk hold NaN or infinity.
        PickledWeightsError: A file is a pickle.
        OSError: A file cannot be read.
    """
    listing = list_files(root)
    checkpoints = checkpoints_in(listing)
    names = sorted(name for name in listing if not is_in_checkpoint(name))
    pickles = [name for name in names if name.endswith(PICKLES)]
    if pickles:
        raise PickledWeightsError(
            f"{root} holds {listed(pickles)}, which can run code on loading. Save the "
            "weights as safetensors.",
            pickles,
        )
    files, notes = {}, []
    if checkpoints:
        notes.append(
            f"Left out, because checkpoints hold other weights than the adapter's: "
            f"{listed(checkpoints)}."
        )
    weights_of = {part.weights for part in PARTS}
    others = sorted({folder for name in names if (folder := _folder(name, weights_of))})
    if others:
        notes.append(
            f"Other adapters or heads lie in {listed(others)}: their files are published along, "
            "and hubkit loads only what lies in the folder itself."
        )
    for name in names:
        path = root / name
        if isinstance(path, BlobFolder) or not name.endswith(".safetensors"):
            files[name] = examine(path)
            continue
        weights = examine_weights(path)
        weights.require_finite(path)
        files[name] = weights.info
        if weights.changes_nothing:
            notes.append(
                f"Every lora_B or adapter_up in {name} is zero: the adapter changes nothing, as "
                "one that was never trained."
            )
    return Contents(files, tuple(notes))


def _folder(name: str, weights: Collection[str]) -> str | None:
    """Return the subfolder of a file if it has weights of an adapter; None for others."""
    folder, _, file = name.rpartition("/")
    return folder if folder and file in weights else None


def is_in_checkpoint(name: str) -> bool:
    """Whether a path leads into a checkpoint of a training run: ``checkpoint-500/...``."""
    return _CHECKPOINT.match(name) is not None


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it is in, has a name that starts with a dot."""
    return _HIDDEN.fullmatch(name) is not None


def is_left_behind(name: str) -> bool:
    """Whether a file is not part of an adapter: hidden, or from a training."""
    return is_hidden(name) or _OF_TRAINING.fullmatch(name) is not None


def checkpoints_in(names: Iterable[str]) -> list[str]:
    """Return the folders of checkpoints among the paths of files."""
    return sorted({found[0] for name in names if (found := _CHECKPOINT.match(name))})


def _reraise(error: OSError) -> None:
    raise error
