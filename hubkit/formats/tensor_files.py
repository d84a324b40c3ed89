"""Read and write the JSON and tensor files of foreign folders."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from registry.errors import AdapterError, StorageError

# How torch names what a pickle wants to call or to make.
_CODE = re.compile(r"(?:GLOBAL|unrecognized function|object of type) ([\w.]+)")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        AdapterError: The file is missing, no JSON, or no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterError(f"{path.parent} holds no {path.name}.", path) from None
    except (OSError, ValueError) as error:
        raise AdapterError(f"{path} cannot be read as JSON: {error}.", path) from error
    if not isinstance(content, dict):
        raise AdapterError(f"{path} holds a {type(content).__name__}; expected an object.", path)
    return content


def read_tensors(folder: Path, name: str, pickle_name: str) -> dict[str, Tensor]:
    """Read the safetensors file ``name``, or the pickle ``pickle_name`` where there is none.

    Raises:
        AdapterError: Both are missing, or the file is damaged or needs code to load.
    """
    path = folder / name
    if path.exists():
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise AdapterError(f"{path} is not a safetensors file: {error}.", path) from error
    path = folder / pickle_name
    if not path.exists():
        raise AdapterError(f"{folder} holds neither {name} nor {pickle_name}.", folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it then refuses
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    # The unpickler meets damaged bytes with whatever its own code stumbles over.
    except Exception as error:
        if found := _CODE.search(str(error)):
            raise AdapterError(
                f"{path} is refused, because loading it could run code: expected nothing but "
                f"tensors, found {found[1]}. Save the adapter again with safetensors, on the "
                "machine that made it.",
                path,
            ) from error
        raise AdapterError(
            f"{path} is damaged, or no file of weights: expected what torch.save writes, found "
            f"{path.stat().st_size} bytes of something else. Copy it again, or save the "
            "adapter with safetensors.",
            path,
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise AdapterError(
            f"{path} does not hold named tensors: expected a tensor for each name, found a "
            f"{type(tensors).__name__}{' of other things' * isinstance(tensors, dict)}. Save the "
            "adapter again with safetensors.",
            path,
        )
    return tensors


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
