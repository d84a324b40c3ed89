"""The same adapters, said to belong to another base model."""

from __future__ import annotations

from dataclasses import replace

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.composition import Mix, Stack
from registry.manifest import BaseModelInfo


def rebased(
    composition: Adapter | Fusion | Stack | Mix, base: BaseModelInfo
) -> Adapter | Fusion | Stack | Mix:
    """`composition` with `base` as the base model of all its adapters; the tensors are shared.

    For a user who insists on another base model than the one that an adapter was trained on.
    """
    if isinstance(composition, Adapter):
        return replace(composition, base=base)
    parts = tuple(rebased(part, base) for part in composition.parts)
    if isinstance(composition, Fusion):
        return replace(composition, parts=parts)
    if isinstance(composition, Mix):
        return Mix(*parts, weights=composition.weights)
    return Stack(*parts)
