"""Publish a fusion over fewer adapters: those that it attends to most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hubkit.adapters.fusion import Fusion
from hubkit.composing.derived import publish_derived
from hubkit.inference import load
from registry import AdapterRef, Catalog, Version
from registry.errors import CompositionError


def publish_pruned(
    catalog: Catalog,
    name: AdapterRef,
    ref: AdapterRef,
    texts: Sequence[Any],
    keep: int,
    *,
    base: str | None = None,
    batch_size: int = 32,
    replace_name: bool = False,
) -> Version:
    """Publish the fusion ``ref`` over the ``keep`` most attended adapters at each site.

    Args:
        catalog: The registry.
        name: Its name.
        ref: A fusion.
        texts: Texts, or rows by column, that the attention is averaged over.
        keep: How many adapters stay.
        base: Where the base model is, if no longer where it was.
        batch_size: Texts at a time.
        replace_name: Whether to take the name although it means another kind of thing so far.

    Raises:
        CompositionError: ``ref`` is not a fusion, or ``keep`` is under one.
        HubkitError: As ``hubkit.load`` and ``Catalog.publish``.
    """
    model = load(ref, base=base, catalog=catalog)
    fusion, manifest = model.composition, model.manifest
    if not isinstance(fusion, Fusion):
        raise CompositionError(
            f"{ref} is of the kind {manifest.kind!r}; only a fusion can be pruned."
        )
    pruned = fusion.prune(model.attention(texts, batch_size=batch_size), keep)
    return publish_derived(
        catalog,
        name,
        pruned,
        manifest,
        parents=manifest.parents,
        description=f"{model.version.ref}, of which each layer attends to {keep} adapters.",
        tags=manifest.tags,
        replace_name=replace_name,
    )
