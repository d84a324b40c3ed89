"""The same adapters, said to belong to another base model."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.composition import Stack
from registry.manifest import BaseModelInfo

_Composition = TypeVar("_Composition", Adapter, Fusion, Stack)


def rebased(composition: _Composition, base: BaseModelInfo) -> _Composition:
    """`composition` with `base` as the base model of all its adapters; the tensors are shared.

    For a user who insists on another base model than the one that an adapter was trained on.
    """
    if isinstance(composition, Adapter):
        return replace(composition, base=base)
    parts = tuple(rebased(part, base) for part in composition.parts)
    return Stack(*parts) if isinstance(composition, Stack) else replace(composition, parts=parts)
