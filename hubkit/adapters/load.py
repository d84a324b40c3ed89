"""From a name in the registry to adapters that can be attached."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.fusion import Fusion
from hubkit.adapters.mix import MIX_WEIGHTS, LearnedMix
from hubkit.adapters.tree import Attachable, Leaf, Trained
from hubkit.composition import Mix, Stack
from hubkit.formats.heads import Head, described, is_kept_only
from registry import AdapterRef, Catalog, Manifest, Version, open_catalog
from registry.arguments import checked
from registry.errors import AdapterError
from registry.storage.place import Copy

_Trained = TypeVar("_Trained", bound=Trained)

OVER = "over"
"""The argument of a training that names what the adapter was trained over."""


@dataclass(frozen=True)
class Published:
    """A version of an adapter, fusion, stack or mix, with its tensors.

    Attributes:
        version: What the registry knows of it.
        manifest: Its manifest.
        composition: Its tensors, frozen, ready to be attached.
        head: The head it predicts with; None if it has none, or only another library runs it.
        foreign_head: Whether it has a head that only another library runs.
    """

    version: Version
    manifest: Manifest
    composition: Attachable
    head: Head | None
    foreign_head: bool = False


@checked
def load_composition(ref: str | AdapterRef, *, catalog: Catalog | None = None) -> Attachable:
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
    catalog = catalog or open_catalog(create=False)
    ref = AdapterRef.parse(ref) if isinstance(ref, str) else ref
    return load_published(catalog, catalog.resolve(ref)).composition


def load_published(
    catalog: Catalog, version: Version, manifest: Manifest | None = None
) -> Published:
    """Load a version with all it is made of, every byte checked against its digest.

    Args:
        catalog: The registry.
        version: The version to load.
        manifest: Its manifest, if the caller has it; default: it is read.

    Raises:
        ParentNotFoundError: Something that it is made of is not in the registry.
        CorruptBlobError: Stored bytes are not those that were published.
        AdapterError: Its files are not what its manifest says.
    """
    if manifest is None:
        manifest = catalog.manifest(version)
    folder = Copy(catalog.folder(version, manifest), str(version.ref))
    # An adapter that was averaged names what it came from, but does not need it.
    needed = [] if version.kind == "adapter" else catalog.parents(version)
    parts = [load_published(catalog, part) for part in needed]
    composition = _read(folder, version, manifest, parts)
    # The last part of a stack has the task. Those before it prepare for it, as in MAD-X.
    own = isinstance(composition, Leaf)
    head = composition.head if isinstance(composition, Leaf) else parts[-1].head
    foreign = is_kept_only(folder) if own else parts[-1].foreign_head
    require_labels(f"The head of {version.ref}", head, manifest)
    return Published(version, manifest, composition, head, foreign)


def require_labels(owner: str, head: Head | None, manifest: Manifest) -> None:
    """Make sure that a head has the labels that its manifest says.

    Args:
        owner: Whose head it is, for the message.
        head: The head, as :func:`~hubkit.formats.heads.described` by the manifest.
        manifest: What stands beside it.

    Raises:
        AdapterError: It has others.
    """
    if head is not None and head.labels != manifest.labels:
        raise AdapterError(
            f"{owner} has the labels {', '.join(head.labels) or 'none'}, but its manifest says "
            f"{', '.join(manifest.labels) or 'none'}."
        )


def _read(folder: Copy, version: Version, manifest: Manifest, parts: list[Published]) -> Attachable:
    """The composition of a version."""
    name, with_head = str(version.ref.repository), not is_kept_only(folder)
    inner = [part.composition for part in parts]
    if manifest.method.type == "head":
        raise AdapterError(
            f"{version.ref} is a head without an adapter, so there is nothing to attach. hubkit "
            "keeps it for the library that saved it, which loads it with load_head."
        )
    if manifest.kind == "adapter":
        adapter = Adapter.load(folder, name=name, base=manifest.base_model, with_head=with_head)
        return adapter.described_by(manifest)
    if manifest.kind == "fusion":
        return _described(Fusion.load(folder, inner, name=name, with_head=with_head), manifest)
    if manifest.kind == "stack":
        return Stack(*inner)
    if (folder / MIX_WEIGHTS).is_file():
        return _described(LearnedMix.load(folder, inner, name=name, with_head=with_head), manifest)
    weights: Any = manifest.method.parameters.get("weights")
    return Mix(*inner, weights=weights)


def _described(trained: _Trained, manifest: Manifest) -> _Trained:
    if trained.head is None:
        return trained
    return replace(trained, head=described(trained.head, manifest))
