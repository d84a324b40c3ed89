"""The weights of a learned mix: a file of hubkit's own, as no other library has one.

``mix.safetensors`` holds a tensor for each site, by its name: *shape* ``(N,)``, or ``(N, d)`` where
each output has its own weight. Where sites share a tensor, it is there once, under their name
without the number of the layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hubkit.formats.tensor_files import read_tensors, write_tensors
from registry.storage.place import Place

MIX_WEIGHTS = "mix.safetensors"


def read_mix(folder: Place) -> dict[str, Tensor]:
    """The weights in ``folder``, by name.

    Raises:
        AdapterError: The file is missing or malformed.
    """
    return read_tensors(folder, MIX_WEIGHTS)


def write_mix(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write weights, by name.

    Raises:
        StorageError: The folder cannot be written.
    """
    write_tensors(folder / MIX_WEIGHTS, tensors)
