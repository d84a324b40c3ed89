"""Publish the average of adapters: one adapter of their shape."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.average import average
from hubkit.adapters.load import load_published
from hubkit.adapters.save import manifest_of, save_folder
from hubkit.composing.combine import Chosen, choose, pins, require_same_kind
from hubkit.composition import Mix
from registry import AdapterRef, Catalog, Version
from registry.errors import CompositionError
from registry.folders import read_folder


def publish_average(
    catalog: Catalog,
    name: AdapterRef,
    refs: Sequence[AdapterRef | Chosen],
    weights: Sequence[float] = (),
    *,
    align: bool = False,
    replace_name: bool = False,
) -> Version:
    """Publish the weighted sum of the weights of adapters, with the head of the last.

    The version is an ordinary adapter. It names what it came from, for its lineage, and does not
    need it to run.

    Args:
        catalog: The registry.
        name: What to call it.
        refs: Published adapters of one shape.
        weights: A number for each; none for equal ones that add up to one.
        align: As in :func:`~hubkit.adapters.average.average`.
        replace_name: Whether to take the name although it means another kind of thing so far.

    Raises:
        HubkitError: As :func:`~hubkit.composing.combine.choose`,
            :func:`~hubkit.adapters.average.average` and ``Catalog.publish``.
    """
    chosen = choose(catalog, refs, Mix)
    for version, _ in chosen:
        if version.kind != "adapter":
            raise CompositionError(
                f"{version.ref} is of the kind {version.kind!r}; only adapters are averaged."
            )
    parts = [load_published(catalog, *one).composition for one in chosen]
    last, manifest = parts[-1], chosen[-1][1]
    assert isinstance(last, Adapter)
    mix = Mix(*parts, weights=weights or [1.0 / len(parts)] * len(parts))
    assert mix.weights is not None
    averaged = average(mix, str(name), align=align)
    terms = [f"{w:g} {one.version.ref}" for w, one in zip(mix.weights, chosen, strict=True)]
    plan = manifest_of(
        replace(averaged, head=last.head),
        parents=pins(chosen),
        task=manifest.task,
        task_type=manifest.task_type,
        problem_type=manifest.problem_type,
        outputs=manifest.outputs,
        head=manifest.head,
        text=manifest.text,
        language=manifest.language,
        license=manifest.license,
        description=f"The average of {', '.join(terms)}{', aligned' if align else ''}.",
    )
    require_same_kind(catalog, name, plan, replace=replace_name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "adapter")
        save_folder(replace(averaged, head=last.head), plan, folder)
        return catalog.publish(name, read_folder(folder))
