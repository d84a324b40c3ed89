"""The files of a folder: which there are, and what identifies the bytes of each."""

import os
from pathlib import Path

from registry.errors import FolderError, InvalidNameError
from registry.folders.safetensors import read_header
from registry.storage.files import MANIFEST_NAME, FileInfo, hash_stream, parse_path

PICKLES = (".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth")
"""How the names of files end that Python's pickle may have written, which can run code."""


def list_files(root: Path) -> set[str]:
    """Return the relative paths of all files but the manifest, refusing what does not travel.

    Raises:
        FolderError: One is a link, a special file, or has a name that some system refuses.
        OSError: A folder cannot be read.
    """
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


def examine(path: Path) -> FileInfo:
    """Return size and digest of a file; the header of a safetensors file is checked too.

    Raises:
        FolderError: It is called ``.safetensors`` and is not sound.
        OSError: It cannot be read.
    """
    if path.suffix == ".safetensors":
        read_header(path)
    with path.open("rb") as stream:
        return hash_stream(stream)


def examine_all(root: Path) -> dict[str, FileInfo]:
    """Return what identifies every file of a folder that other tools wrote.

    Raises:
        FolderError: As `list_files` and `examine`, or a file is a pickle.
        OSError: A file cannot be read.
    """
    files = sorted(list_files(root))
    pickles = [name for name in files if name.endswith(PICKLES)]
    if pickles:
        raise FolderError(
            f"{root} holds {listed(pickles)}, which loading could make run code. Save the weights "
            "as safetensors; `hubkit publish` does so by itself.",
            pickles,
        )
    return {name: examine(root / name) for name in files}


def listed(names: list[str]) -> str:
    """Return the first five names, and how many more there are."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _reraise(error: OSError) -> None:
    raise error
