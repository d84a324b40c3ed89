"""Read and write the JSON and tensor files of foreign folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from hubkit.formats.pickles import convert
from registry.errors import AdapterError, FolderError, StorageError
from registry.folders.configs import read_config
from registry.folders.safetensors import read_header
from registry.storage.files import open_file
from registry.storage.place import Place

# https://github.com/huggingface/safetensors, "Format": its names, and what they are read as.
_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "F8_E4M3": torch.float32,
    "F8_E5M2": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


# torch computes next to nothing in these.
_NARROW = (torch.float8_e4m3fn, torch.float8_e5m2)


def read_json(path: Place) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        AdapterError: The file is missing, not JSON, not an object, or beyond a limit.
        NotAFileError: It is not a regular file.
    """
    try:
        return read_config(path)
    except FileNotFoundError:
        raise AdapterError(f"{path.parent} holds no {path.name}.", path) from None
    except OSError as error:
        raise AdapterError(f"{path} cannot be read: {error}.", path) from error
    except FolderError as error:
        raise AdapterError(str(error), error.subject) from error


def read_tensors(folder: Place, name: str, pickle_name: str | None = None) -> dict[str, Tensor]:
    """Read the safetensors file ``name``, or the pickle ``pickle_name`` where there is none.

    Numbers of 8 bits are widened to float32, which has them all.

    Under ``torch.device("meta")``, only the header of a safetensors file is read: its tensors have
    sizes and no numbers.

    Raises:
        AdapterError: Both are missing, or the file is damaged or needs code to load.
        NotAFileError: It is not a regular file.
    """
    path = folder / name
    if not path.exists():
        if pickle_name is None:
            raise AdapterError(f"{folder} holds no {name}.", folder)
        return _read_pickle(folder / pickle_name, name)
    try:
        if torch.get_default_device().type == "meta":
            return {
                name: torch.empty(tensor.shape, dtype=_DTYPES[tensor.dtype])
                for name, tensor in read_header(path).items()
            }
        open_file(path).close()
        return _widened(load_file(path))
    except FolderError as error:
        raise AdapterError(str(error), error.subject) from error
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
            return _widened(load(converted.read_bytes()))
        except OSError as error:
            raise AdapterError(f"{path} cannot be read: {error}.", path) from error


def _widened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.float() if tensor.dtype in _NARROW else tensor
        for name, tensor in tensors.items()
    }


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
    contiguous, seen = {}, set[int]()
    for name, tensor in sorted(tensors.items()):
        made = tensor.cpu().contiguous()
        # The format has no aliases: what is shared is written once for each name.
        contiguous[name] = made.clone() if made.data_ptr() in seen else made
        seen.add(made.data_ptr())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(contiguous, path, metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path} cannot be written: {error}.", path) from error
