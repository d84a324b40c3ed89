"""Trained fusions as values: the fusion layers, with the adapters they were trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hubkit.adapters.adapter import Adapter, check_tensors
from hubkit.combining import describe_base, same_base
from hubkit.composition import Fuse, leaves
from hubkit.formats import adapterhub
from hubkit.formats.heads import Head, read_head, write_head
from hubkit.nn.fusion import FusionLayer
from hubkit.nn.sites import Site
from registry.errors import AdapterError, BaseModelMismatchError, CompositionError
from registry.manifest import BaseModelInfo


@dataclass(frozen=True, kw_only=True, eq=False)
class Fusion:
    """AdapterFusion over adapters, stacks or other fusions.

    Attributes:
        name: What it is called in messages, tables and files.
        parts: What it fuses, in order.
        layers: Its fusion layer at each site where a part has a delta.
        head: The head it was trained with; None if it has none.
    """

    name: str
    parts: tuple[Any, ...]
    layers: Mapping[Site, FusionLayer]
    head: Head | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def base(self) -> BaseModelInfo | None:
        """The base model of its adapters."""
        return next(adapters_of(self)).base

    @classmethod
    def create(cls, fuse: Fuse, name: str = "fusion", *, value: bool = True) -> Fusion:
        """New, untrained fusion layers over the parts of ``fuse``.

        Args:
            value: False leaves out the value matrices (AdapterHub's "static").

        Raises:
            BaseModelMismatchError: The parts belong to different base models.
            CompositionError: A part is only the name of an adapter.
        """
        check_one_base(fuse)
        widths = sites_of(fuse)
        return cls(
            name=name,
            parts=fuse.parts,
            layers={site: FusionLayer(width, value=value) for site, width in widths.items()},
        )

    @classmethod
    def load(
        cls,
        folder: str | Path,
        adapters: tuple[Any, ...] | list[Any],
        *,
        name: str | None = None,
    ) -> Fusion:
        """Read an AdapterHub fusion folder, frozen, over ``adapters`` in the folder's order.

        Raises:
            AdapterError: A file is missing or malformed, or its tensors do not fit the adapters.
        """
        fuse = Fuse(*adapters)
        check_one_base(fuse)
        stored = adapterhub.read_fusion(Path(folder))
        if len(stored.adapter_names) != len(adapters):
            raise AdapterError(
                f"Fusion {stored.name!r} was trained on {len(stored.adapter_names)} adapters "
                f"({', '.join(stored.adapter_names)}), but {len(adapters)} were given."
            )
        widths = sites_of(fuse)
        if set(widths) != set(stored.tensors):
            odd = ", ".join(map(str, sorted(set(widths) ^ set(stored.tensors))))
            raise AdapterError(
                f"Fusion {stored.name!r} and its adapters do not have the same sites: {odd}."
            )
        return cls(
            name=name or stored.name,
            parts=fuse.parts,
            layers={
                site: _layer(stored.name, site, widths[site], tensors)
                for site, tensors in stored.tensors.items()
            },
            head=read_head(Path(folder)),
        )

    def save(self, folder: str | Path) -> None:
        """Write the fusion layers and the head as an AdapterHub folder; the adapters stay apart.

        Raises:
            StorageError: The folder cannot be written.
        """
        first = next(adapters_of(self))
        if first.base is None:
            raise AdapterError(f"Fusion {self.name!r} names no base model, so it cannot be saved.")
        adapterhub.write_fusion(
            Path(folder),
            # As the library does, a stack goes by its last adapter.
            adapter_names=[list(adapters_of(part))[-1].name for part in self.parts],
            value=any(layer.value is not None for layer in self.layers.values()),
            model_type=first.model_type,
            base=first.base,
            tensors={
                site: {name: tensor.detach() for name, tensor in layer.state_dict().items()}
                for site, layer in self.layers.items()
            },
        )
        if self.head is not None:
            write_head(Path(folder), self.head, model_type=first.model_type, base=first.base)


def adapters_of(composition: Any) -> Iterator[Adapter]:
    """Every adapter in ``composition``, those inside fusions included.

    Raises:
        CompositionError: A leaf is only the name of an adapter, or something else.
    """
    for leaf in leaves(composition):
        if isinstance(leaf, Fusion):
            for part in leaf.parts:
                yield from adapters_of(part)
        elif isinstance(leaf, Adapter):
            yield leaf
        else:
            raise CompositionError(
                f"Expected loaded adapters, found {leaf!r} ({type(leaf).__name__}); "
                "load it first with hubkit.Adapter.load."
            )


def check_one_base(composition: Any) -> None:
    """Make sure that all adapters in ``composition`` belong to one base model.

    Raises:
        BaseModelMismatchError: Two of them do not; the message names both.
    """
    first, *others = adapters_of(composition)
    for other in others:
        if first.base is None or other.base is None:
            agree = _shape(first) == _shape(other)
        else:
            agree = same_base(first.base, other.base)
        if not agree:
            raise BaseModelMismatchError(
                f"{first} and {other} belong to different base models: {_describe(first)} and "
                f"{_describe(other)}. Adapters combine on one base model only."
            )


def _shape(adapter: Adapter) -> tuple[str, int]:
    return adapter.model_type, next(iter(adapter.deltas.values())).up.out_features


def _describe(adapter: Adapter) -> str:
    if adapter.base is None:
        model_type, width = _shape(adapter)
        return f"an unnamed {model_type} of width {width}"
    return describe_base(adapter.base)


def sites_of(composition: Any) -> dict[Site, int]:
    """The sites where ``composition`` adds something, with the width of each, in layer order."""
    return {
        site: delta.up.out_features
        for adapter in adapters_of(composition)
        for site, delta in adapter.deltas.items()
    }


def _layer(fusion: str, site: Site, width: int, tensors: Mapping[str, Tensor]) -> FusionLayer:
    with torch.device("meta"):
        layer = FusionLayer(width, value="value.weight" in tensors)
    check_tensors(f"Fusion {fusion!r} at {site}", layer, tensors)
    layer.load_state_dict(dict(tensors), assign=True)
    return layer.requires_grad_(False).eval()
