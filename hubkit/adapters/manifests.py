"""Write the manifest of what hubkit makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hubkit.adapters.adapter import NAME_THE_BASE, Adapter
from hubkit.adapters.fusion import Fusion
from registry.errors import AdapterError
from registry.manifest import Kind, Manifest, Method, Parent, manifest_errors


def manifest_of(
    composition: Adapter | Fusion, *, parents: Sequence[Parent] = (), **facts: Any
) -> Manifest:
    """The manifest of an adapter or a fusion, without its files.

    Args:
        composition: What the manifest is to describe.
        parents: What a fusion is made of, pinned by digest, in its order.
        facts: Other fields, such as ``task``, ``metrics`` and ``training``.

    Raises:
        AdapterError: Nothing says which base model it belongs to.
        ManifestError: A fact is none that a manifest holds.
    """
    base = composition.base
    if base is None:
        raise AdapterError(
            f"{composition} names no base model, so it cannot be published. {NAME_THE_BASE}"
        )
    kind, method = _kind(composition)
    labels = composition.head.labels if composition.head is not None else ()
    with manifest_errors(f"What is said of {composition}"):
        return Manifest(
            kind=kind,
            method=method,
            base_model=base,
            parents=tuple(parents),
            **{"labels": labels, **facts},
        )


def _kind(composition: Adapter | Fusion) -> tuple[Kind, Method]:
    if isinstance(composition, Adapter):
        method = composition.method
        return "adapter", Method(type=method.type, parameters=method.parameters)
    value = any(layer.value is not None for layer in composition.layers.values())
    return "fusion", Method(type="fusion", parameters={"value": value})
