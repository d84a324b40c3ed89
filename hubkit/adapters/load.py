"""From a name in the registry, or a folder, to adapters that can be attached."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.composition import Mix, Stack
from hubkit.formats.heads import Head, is_flexible
from hubkit.messages import told_as
from registry import AdapterRef, Catalog, Manifest, Version, open_catalog
from registry.errors import AdapterError, NotFoundError
from registry.manifest import BaseModelInfo


@dataclass(frozen=True)
class Published:
    """A version of an adapter, fusion or stack, with its tensors.

    Attributes:
        version: What the registry knows of it.
        manifest: Its manifest.
        composition: Its tensors, frozen, ready to be attached; None for a method that hubkit does
            not compose, which another library runs.
        head: The head it predicts with; None if it has none, or only another library runs it.
    """

    version: Version
    manifest: Manifest
    composition: Adapter | Fusion | Stack | Mix | None
    head: Head | None


def load_published(catalog: Catalog, ref: AdapterRef | str) -> Published:
    """Load what ``ref`` names, every byte checked against its digest, with all it is made of.

    Raises:
        NotFoundError: There is no such adapter, version or alias.
        ParentNotFoundError: Something that it is made of is not in the registry.
        CorruptBlobError: Stored bytes are not those that were published.
        AdapterError: Its files are not what its manifest says.
    """
    ref = AdapterRef.parse(ref) if isinstance(ref, str) else ref
    return _load(catalog, catalog.resolve(ref))


def load_composition(
    ref: str | AdapterRef, *, catalog: Catalog | None = None
) -> Adapter | Fusion | Stack | Mix:
    """Load a published adapter, fusion, stack or mix with its parts, for ``hubkit.attach``.

    Unlike ``hubkit.load``, it needs no head, and loads no base model. All is frozen, and every
    byte is checked against its digest.

    Args:
        ref: ``[owner/]name[@version|@alias]``.
        catalog: The registry; default: the user's.

    Raises:
        NotFoundError: There is no such adapter, version or alias, or something that it is made of
            is not in the registry.
        CorruptBlobError: Stored bytes are not those that were published.
        AdapterError: It is of a method that hubkit does not compute itself, or its files are not
            what its manifest says.
    """
    composition = load_published(catalog or open_catalog(create=False), ref).composition
    assert composition is not None, "_read has refused methods that hubkit does not compose"
    return composition


def load_adapter(name: str) -> Adapter:
    """Load a published adapter from the user's registry.

    Raises:
        AdapterError: There is none of that name, or what has that name is a combination of several.
        CorruptBlobError: Stored bytes are not those that were published.
    """
    try:
        published = load_published(open_catalog(create=False), name)
    except NotFoundError as error:
        raise AdapterError(f"{name!r} is no folder, and no published adapter: {error}") from error
    if not isinstance(published.composition, Adapter):
        raise AdapterError(
            f"{name} is a {published.manifest.kind}, not a single adapter. Load it with "
            f"hubkit.load_composition({name!r}), which gives what hubkit.attach takes."
        )
    return published.composition


def _load(catalog: Catalog, version: Version) -> Published:
    folder = catalog.folder(version)
    manifest = catalog.manifest(version)
    parts = [_load(catalog, part) for part in catalog.parents(version)]
    with told_as(folder, str(version.ref)):
        composition, head = _read(folder, version, manifest, parts)
    if head is not None and head.labels != manifest.labels:
        raise AdapterError(
            f"The head of {version.ref} has the labels {head.labels}, but its manifest says "
            f"{manifest.labels}."
        )
    return Published(version, manifest, composition, head)


def _read(
    folder: Path, version: Version, manifest: Manifest, parts: list[Published]
) -> tuple[Adapter | Fusion | Stack | Mix, Head | None]:
    """What a version computes, and the head it predicts with."""
    name, with_head = str(version.ref.repository), not is_flexible(folder)
    composition: Adapter | Fusion | Stack | Mix
    if manifest.method.type == "head":
        raise AdapterError(
            f"{version.ref} is a head without an adapter, so there is nothing to attach. hubkit "
            "keeps it for the library that saved it, which loads it with load_head."
        )
    if manifest.kind == "adapter":
        composition = Adapter.load(folder, name=name, base=manifest.base_model, with_head=with_head)
        composition = composition.labelled(manifest.labels)
        head = composition.head
    elif manifest.kind == "fusion":
        composition = Fusion.load(
            folder, [part.composition for part in parts], name=name, with_head=with_head
        )
        head = composition.head
    elif manifest.kind == "stack":
        composition = Stack(*(part.composition for part in parts))
        # The last one has the task; those before it prepare for it, as in MAD-X.
        head = parts[-1].head
    else:
        weights: Any = manifest.method.parameters.get("weights")
        composition = Mix(*(part.composition for part in parts), weights=weights)
        head = parts[-1].head
    return composition, head


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
