"""Read an adapter's folder in whichever format it is, and write one in the format of its method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from hubkit.formats import peft
from hubkit.formats.adapterhub import adapter as adapterhub
from hubkit.formats.heads import Head, read_head, write_head
from hubkit.formats.stored import StoredAdapter
from hubkit.formats.tensor_files import read_json
from hubkit.methods.bottleneck import Bottleneck
from hubkit.methods.lora import LoRA
from hubkit.methods.method import Method
from hubkit.methods.sites import Site
from registry.errors import AdapterError, FolderError
from registry.folders.kinds import PEFT
from registry.manifest import BaseModelInfo
from registry.storage.place import Place


def read_adapter(folder: Place, *, with_head: bool = True) -> StoredAdapter:
    """Read a PEFT or an AdapterHub folder; the same with ``hubkit.json`` is a hubkit folder.

    Args:
        folder: Where it is.
        with_head: Whether to read its head, too, if it has one.

    Raises:
        AdapterError: It is neither, or a file is missing or malformed, or hubkit does not compose
            the method.
    """
    source = read_json(folder / PEFT.config)
    if "peft_type" in source:
        try:
            stored = peft.read_adapter(folder, source)
        except FolderError as error:  # of the reader that the registry has, too
            raise AdapterError(str(error), error.subject) from error
        if not with_head:
            return replace(stored, head=None)
        # A flexible head, which no model of peft has, lies beside the adapter.
        return stored if stored.head is not None else replace(stored, head=read_head(folder))
    if "config" in source:
        stored = adapterhub.read_adapter(folder, source)
        return replace(stored, head=read_head(folder)) if with_head else stored
    raise AdapterError(
        f"{folder / PEFT.config} is neither of PEFT, with a 'peft_type', nor of AdapterHub, with a "
        f"'config'; found the keys {', '.join(sorted(source)) or 'none'}."
    )


def write_adapter(
    folder: Path,
    *,
    name: str,
    method: Method,
    model_type: str | None,
    base: BaseModelInfo,
    tensors: Mapping[Site, Mapping[str, Tensor]],
    coupling: Mapping[str, Tensor],
    head: Head | None,
    backbone: str = "",
) -> None:
    """Write an adapter so that the library of its method reads it.

    Raises:
        AdapterError: The library has no name for what it holds.
        StorageError: The folder cannot be written.
    """
    apart = head is not None and head.flexible is not None
    if isinstance(method, LoRA):
        inside = None if apart else head
        peft.write_adapter(
            folder,
            method=method,
            base=base,
            tensors=tensors,
            head=inside,
            # A flexible head is of no class: PEFT reads the backbone alone.
            backbone="" if apart else backbone,
        )
        head = head if apart else None
    elif isinstance(method, Bottleneck) and model_type is not None:
        adapterhub.write_adapter(
            folder,
            name=name,
            method=method,
            model_type=model_type,
            base=base,
            tensors=tensors,
            coupling=coupling,
        )
    else:
        raise AdapterError(f"Adapter {name!r} of the method {method.type} has no folder format.")
    if head is not None:
        own = adapterhub.foreign_name(name)
        write_head(folder, head, name=own, model_type=model_type, base=base)
