"""Read and write the JSON and tensor files of foreign folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from hubkit.formats.pickles import convert
from registry.errors import AdapterError, FolderError, StorageError
from registry.folders.configs import read_config
from registry.storage.files import open_file
from registry.storage.place import Place


def read_json(path: Place) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        AdapterError: The file is missing, no JSON, no object, or beyond a limit.
        NotAFileError: It is no regular file.
    """
    try:
        return read_config(path)
    except FileNotFoundError:
        raise AdapterError(f"{path.parent} holds no {path.name}.", path) from None
    except OSError as error:
        raise AdapterError(f"{path} cannot be read: {error}.", path) from error
    except FolderError as error:
        raise AdapterError(str(error), error.subject) from error


def read_tensors(folder: Place, name: str, pickle_name: str) -> dict[str, Tensor]:
    """Read the safetensors file ``name``, or the pickle ``pickle_name`` where there is none.

    Raises:
        AdapterError: Both are missing, or the file is damaged or needs code to load.
        NotAFileError: It is no regular file.
    """
    path = folder / name
    if not path.exists():
        return _read_pickle(folder / pickle_name, name)
    try:
        open_file(path).close()
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{path} is not a safetensors file: {error}.", path) from error


def _read_pickle(path: Place, preferred: str) -> dict[str, Tensor]:
    if not path.exists():
        raise AdapterError(f"{path.parent} holds neither {preferred} nor {path.name}.", path.parent)
    with TemporaryDirectory() as scratch:
        converted = Path(scratch) / preferred
        try:
            open_file(path).close()
            convert(path, converted, {})
            return load(converted.read_bytes())
        except OSError as error:
            raise AdapterError(f"{path} cannot be read: {error}.", path) from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, indented by two, with sorted keys.

    Raises:
        StorageError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.", path) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file.

    Raises:
        StorageError: The file cannot be written.
    """
    contiguous = {name: tensor.cpu().contiguous() for name, tensor in sorted(tensors.items())}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(contiguous, path, metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path} cannot be written: {error}.", path) from error
