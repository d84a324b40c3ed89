"""What a composition of loaded adapters is made of: its adapters, its sites, its base model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

from hubkit.adapters.adapter import Adapter
from hubkit.bases.compare import base_mismatch, describe_base, same_base
from hubkit.composition import Composition
from hubkit.methods.method import DeltaShape
from hubkit.methods.sites import BlockSite, Site
from registry.errors import BaseModelMismatchError, CompositionError


@runtime_checkable
class Trained(Protocol):
    """A composition with weights of its own, such as a fusion."""

    @property
    def parts(self) -> tuple[Any, ...]:
        """What it combines, in order."""


def adapters_of(composition: Any) -> Iterator[Adapter]:
    """Every adapter in ``composition``, those inside fusions included.

    Raises:
        CompositionError: A leaf is only the name of an adapter, or something else.
    """
    if isinstance(composition, Adapter):
        yield composition
    elif isinstance(composition, Composition | Trained):
        for part in composition.parts:
            yield from adapters_of(part)
    else:
        raise CompositionError(
            f"Expected loaded adapters, found {composition!r} ({type(composition).__name__}); "
            "load it first with hubkit.Adapter.load."
        )


def names_of(parts: Sequence[Any]) -> list[str]:
    """What the parts of a fusion or a mix are called: by themselves, or with a number if alike."""
    names: list[str] = []
    for part in parts:
        name, number = str(part), 1
        while name in names:
            number += 1
            name = f"{part}#{number}"
        names.append(name)
    return names


def sites_of(composition: Any) -> dict[Site, DeltaShape]:
    """The sites where ``composition`` adds something, with the shape of a delta there."""
    return {
        site: delta.shape
        for adapter in adapters_of(composition)
        for site, delta in adapter.deltas.items()
    }


def has_site(composition: Any, site: Site) -> bool:
    """Whether ``composition`` adds something at ``site``."""
    return any(site in adapter.deltas for adapter in adapters_of(composition))


def check_one_base(composition: Any) -> None:
    """Make sure that all adapters in ``composition`` belong to one base model.

    Raises:
        BaseModelMismatchError: Two of them do not; the message names both.
    """
    first, *others = adapters_of(composition)
    for other in others:
        if first.base is None or other.base is None:
            agree = _may_share_base(first, other)
        else:
            agree = same_base(first.base, other.base)
        if not agree and first.base is not None and other.base is not None:
            raise base_mismatch(str(first), first.base, str(other), other.base)
        if not agree:
            raise BaseModelMismatchError(
                f"{first} and {other} belong to different base models: {_describe(first)} and "
                f"{_describe(other)}. Adapters combine on one base model only."
            )


def _may_share_base(one: Adapter, other: Adapter) -> bool:
    """Whether nothing that their files say speaks against it."""
    types, widths = {one.model_type, other.model_type}, {_width(one), _width(other)}
    shared = one.deltas.keys() & other.deltas.keys()
    return (
        len(types - {None}) <= 1
        and len(widths - {None}) <= 1
        and all(_sizes(one, site) == _sizes(other, site) for site in shared)
    )


def _sizes(adapter: Adapter, site: Site) -> tuple[int, int]:
    shape = adapter.deltas[site].shape
    return shape.inputs, shape.outputs


def _width(adapter: Adapter) -> int | None:
    """The width of the sub-blocks; None for an adapter of linear layers."""
    widths = (d.shape.outputs for s, d in adapter.deltas.items() if isinstance(s, BlockSite))
    return next(widths, None)


def _describe(adapter: Adapter) -> str:
    if adapter.base is not None:
        return describe_base(adapter.base)
    width = _width(adapter)
    return f"an unnamed {adapter.model_type or 'model'}" + (f" of width {width}" if width else "")
