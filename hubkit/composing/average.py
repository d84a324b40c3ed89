"""Publish the average of adapters: one adapter of their shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hubkit.adapters.adapter import Adapter
from hubkit.adapters.average import average
from hubkit.adapters.load import load_published
from hubkit.composing.combine import Chosen, choose, pins
from hubkit.composing.derived import publish_derived
from hubkit.composition import Mix
from registry import AdapterRef, Catalog, Version
from registry.errors import CompositionError


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
        name: Its name.
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
    return publish_derived(
        catalog,
        name,
        replace(averaged, head=last.head),
        manifest,
        parents=pins(chosen),
        description=f"The average of {', '.join(terms)}{', aligned' if align else ''}.",
        replace_name=replace_name,
    )
