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
from registry.errors import CompositionError, NotFoundError, OtherKindError
from registry.folders import read_folder, write_manifest
from registry.manifest import Method


class Chosen(NamedTuple):
    """What is to be combined, looked up once and handed on.

    Attributes:
        version: The version that a name meant.
        manifest: Its manifest.
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


def require_same_kind(
    catalog: Catalog, name: AdapterRef, manifest: Manifest, *, replace_name: bool
) -> None:
    """Make sure that a name keeps its meaning, unless it is to be replaced.

    Args:
        catalog: The registry.
        name: What is to be published is to get this name.
        manifest: The manifest to publish.
        replace_name: Whether the name may mean something else from now on.

    Raises:
        OtherKindError: The latest version of that name is of another kind, base model, task, task
            type or labels.
    """
    if replace_name:
        return
    try:
        latest = catalog.resolve(name.repository)
    except NotFoundError:
        return
    known = catalog.manifest(latest)
    facts = [
        ("kind", known.kind, manifest.kind),
        ("task", known.task, manifest.task),
        ("task type", known.task_type, manifest.task_type),
        ("labels", ", ".join(known.labels), ", ".join(manifest.labels)),
    ]
    differ = [(fact, old or "none", new or "none") for fact, old, new in facts if old != new]
    if not same_base(known.base_model, manifest.base_model):
        differ.append(("base model", known.base_model.id, manifest.base_model.id))
    if differ:
        fact, old, new = differ[0]
        more = ", ".join(other for other, *_ in differ[1:])
        raise OtherKindError(
            f"{latest.ref} has the {fact} {old}; what is to be published under its name has {new}"
            f"{f', and another {more}' if more else ''}. Give it a name of its own.",
            name,
            given={fact: new for fact, _, new in differ},
            found={fact: old for fact, old, _ in differ},
        )


def publish_stack(
    catalog: Catalog, name: AdapterRef, refs: Sequence[AdapterRef], *, replace_name: bool = False
) -> Version:
    """Publish adapters one after the other as one adapter, with the head of the last.

    Args:
        catalog: The registry.
        name: Its name.
        refs: Published adapters, fusions or stacks.
        replace_name: Whether the name may mean another kind of thing so far.

    Raises:
        HubkitError: As :func:`choose`, :func:`require_same_kind` and ``Catalog.publish``.
    """
    return _publish(catalog, name, choose(catalog, refs, Stack), "stack", {}, replace_name)


def publish_mix(
    catalog: Catalog,
    name: AdapterRef,
    refs: Sequence[AdapterRef],
    weights: Sequence[float] = (),
    *,
    replace_name: bool = False,
) -> Version:
    """Publish the weighted sum of adapters as one adapter, with the head of the last.

    Args:
        catalog: The registry.
        name: Its name.
        refs: Published adapters, fusions or stacks.
        weights: A number for each; none for equal ones that add up to one.
        replace_name: Whether the name may mean another kind of thing so far.

    Raises:
        HubkitError: As :func:`choose`, :func:`require_same_kind` and ``Catalog.publish``.
    """
    chosen = choose(catalog, refs, Mix)
    mix = Mix(*refs, weights=weights or [1.0 / len(refs)] * len(refs))
    assert mix.weights is not None
    return _publish(catalog, name, chosen, "mix", {"weights": list(mix.weights)}, replace_name)


def _publish(
    catalog: Catalog,
    name: AdapterRef,
    chosen: Sequence[Chosen],
    kind: Literal["stack", "mix"],
    parameters: dict[str, Any],
    replace_name: bool,
) -> Version:
    last = chosen[-1][1]
    manifest = Manifest(
        kind=kind,
        method=Method(type=kind, parameters=parameters),
        base_model=last.base_model,
        task=last.task,
        task_type=last.task_type,
        labels=last.labels,
        problem_type=last.problem_type,
        outputs=last.outputs,
        head=last.head,
        text=last.text,
        language=last.language,
        parents=tuple(pins(chosen)),
    )
    require_same_kind(catalog, name, manifest, replace_name=replace_name)
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder), manifest)
        return catalog.publish(name, read_folder(Path(folder)))
