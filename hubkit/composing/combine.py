"""Choose published adapters to combine, and publish stacks and mixes. Loads no torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hubkit.bases.compare import base_mismatch, same_base
from hubkit.composition import Composition, Mix, Stack
from hubkit.methods.table import METHODS
from registry import AdapterRef, Catalog, Manifest, Parent, Version
from registry.errors import CompositionError
from registry.folders import read_folder, write_manifest
from registry.manifest import Method


class Chosen(NamedTuple):
    """What is to be combined, looked up once and handed on.

    Attributes:
        version: The version that a name meant.
        manifest: What it is.
    """

    version: Version
    manifest: Manifest


def choose(
    catalog: Catalog, refs: Sequence[AdapterRef | Chosen], verb: type[Composition]
) -> list[Chosen]:
    """Resolve what is to be combined, and make sure that it can be.

    Args:
        catalog: The registry.
        refs: Published adapters, fusions or stacks; those that were chosen before are taken as
            they are.
        verb: How they are to be combined.

    Raises:
        NotFoundError: One of them is not in the registry.
        CompositionError: Fewer than two, one of them twice, or one of a method that hubkit does
            not compose.
        BaseModelMismatchError: Two of them belong to different base models.
    """
    versions = [ref.version if isinstance(ref, Chosen) else catalog.resolve(ref) for ref in refs]
    verb(*(version.ref for version in versions))
    for version in versions:
        if version.kind == "adapter" and version.method not in METHODS:
            raise CompositionError(
                f"{version.ref} is of the method {version.method}, which hubkit keeps and runs by "
                f"itself, but does not combine with others. It combines {', '.join(METHODS)}, and "
                "what is made of them.",
                version.ref,
            )
    chosen = [
        ref if isinstance(ref, Chosen) else Chosen(version, catalog.manifest(version))
        for ref, version in zip(refs, versions, strict=True)
    ]
    first_version, first = chosen[0]
    for version, manifest in chosen[1:]:
        if not same_base(first.base_model, manifest.base_model):
            raise base_mismatch(
                str(first_version.ref), first.base_model, str(version.ref), manifest.base_model
            )
    return chosen


def pins(chosen: Sequence[Chosen]) -> list[Parent]:
    """How a manifest names what it is made of."""
    return [Parent(ref=str(version.ref), digest=version.manifest_digest) for version, _ in chosen]


def publish_stack(catalog: Catalog, name: AdapterRef, refs: Sequence[AdapterRef]) -> Version:
    """Publish adapters one after the other as one adapter, with the head of the last.

    Raises:
        HubkitError: As :func:`choose` and ``Catalog.publish``.
    """
    return _publish(catalog, name, choose(catalog, refs, Stack), "stack", {})


def publish_mix(
    catalog: Catalog, name: AdapterRef, refs: Sequence[AdapterRef], weights: Sequence[float] = ()
) -> Version:
    """Publish the weighted sum of adapters as one adapter, with the head of the last.

    Args:
        catalog: The registry.
        name: What to call it.
        refs: Published adapters, fusions or stacks.
        weights: A number for each; none for equal ones that add up to one.

    Raises:
        HubkitError: As :func:`choose` and ``Catalog.publish``.
    """
    chosen = choose(catalog, refs, Mix)
    mix = Mix(*refs, weights=weights or [1.0 / len(refs)] * len(refs))
    assert mix.weights is not None
    return _publish(catalog, name, chosen, "mix", {"weights": list(mix.weights)})


def _publish(
    catalog: Catalog,
    name: AdapterRef,
    chosen: Sequence[Chosen],
    kind: Literal["stack", "mix"],
    parameters: dict[str, Any],
) -> Version:
    last = chosen[-1][1]
    manifest = Manifest(
        kind=kind,
        method=Method(type=kind, parameters=parameters),
        base_model=last.base_model,
        task=last.task,
        task_type=last.task_type,
        labels=last.labels,
        language=last.language,
        parents=tuple(pins(chosen)),
    )
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder), manifest)
        return catalog.publish(name, read_folder(Path(folder)))
