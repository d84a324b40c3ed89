"""Compositions of loaded adapters: what they are made of, worked out once and handed on."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from hubkit.adapters.adapter import Adapter
from hubkit.bases.compare import base_mismatch, describe_base, same_base
from hubkit.composition import Batch, Composition, Parallel
from hubkit.formats.heads import Head
from hubkit.methods.method import DeltaShape
from hubkit.methods.sites import BlockSite, Site
from registry.errors import BaseModelMismatchError, CompositionError
from registry.manifest import BaseModelInfo


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained(ABC):
    """A composition with weights of its own: a fusion, or a mix whose weights are learned.

    Attributes:
        name: Its name in messages, tables and files.
        parts: Its parts, in order.
        head: The head it was trained with; None if it has none.
    """

    name: str
    parts: tuple[Attachable, ...]
    head: Head | None = None

    def __str__(self) -> str:
        return self.name

    @property
    @abstractmethod
    def shared(self) -> bool:
        """Whether several layers of the base model have the same weights."""

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write its own weights and its head; its parts stay apart."""

    @property
    @abstractmethod
    def own_weights(self) -> Mapping[Site, nn.Module]:
        """Its own weights at each site, without those of its parts."""

    def adds_at(self, site: Site) -> bool:
        """Whether it adds something at a ``site`` of its parts."""
        return True

    def modules(self) -> Iterator[nn.Module]:
        """Its own modules with weights, without those of its parts."""
        yield from self.own_weights.values()

    @property
    def base(self) -> BaseModelInfo | None:
        """The base model of its adapters."""
        return next((one.base for one in self.tree.adapters if one.base is not None), None)

    @cached_property
    def tree(self) -> Tree:
        """Its parts."""
        return Tree(self, tuple(Tree.of(part) for part in self.parts))


Leaf = Adapter | Trained
"""A part of a composition with a name, weights, and maybe a head."""

Attachable = Leaf | Composition
"""What can be attached to a model: loaded adapters, or how they combine."""


@dataclass(frozen=True, eq=False)
class Tree:
    """A composition with the adapters and the sites of all its parts.

    Attributes:
        composition: The composition.
        parts: The trees of its parts, in order; none for an adapter.
    """

    composition: Attachable
    parts: tuple[Tree, ...] = ()

    @classmethod
    def of(cls, value: object) -> Tree:
        """The tree of ``value``.

        Raises:
            CompositionError: A leaf is only the name of an adapter, or something else.
        """
        if isinstance(value, Adapter):
            return cls(value)
        if isinstance(value, Trained):
            return value.tree
        if isinstance(value, Composition):
            return cls(value, tuple(cls.of(part) for part in value.parts))
        raise CompositionError(
            f"Expected loaded adapters, found {value!r} ({type(value).__name__}). "
            "hubkit.load_composition loads a published adapter, hubkit.Adapter.load a folder."
        )

    @cached_property
    def adapters(self) -> tuple[Adapter, ...]:
        """Every adapter, from left to right, those inside fusions included."""
        if isinstance(self.composition, Adapter):
            return (self.composition,)
        return tuple(adapter for part in self.parts for adapter in part.adapters)

    @property
    def model_type(self) -> str | None:
        """The architecture of its adapters; None where no file says, as of PEFT's folders."""
        types = (one.model_type for one in self.adapters)
        return next((one for one in types if one is not None), None)

    @cached_property
    def sites(self) -> dict[Site, DeltaShape]:
        """The sites where something is added, with the shape of a delta there."""
        own = self.composition
        if isinstance(own, Adapter):
            return {site: delta.shape for site, delta in own.deltas.items()}
        found = {site: shape for part in self.parts for site, shape in part.sites.items()}
        if isinstance(own, Trained):
            return {site: shape for site, shape in found.items() if own.adds_at(site)}
        return found

    @cached_property
    def row_choice(self) -> Batch | Parallel | None:
        """The part that chooses by rows; there is at most one."""
        inside = (one.composition for one in self.inside())
        return next((one for one in inside if isinstance(one, Batch | Parallel)), None)

    def at(self, site: Site) -> list[int]:
        """The numbers of the parts that add something at ``site``."""
        return [number for number, part in enumerate(self.parts) if site in part.sites]

    def inside(self) -> Iterator[Tree]:
        """The trees in this one, itself first."""
        yield self
        for part in self.parts:
            yield from part.inside()

    @classmethod
    def of_one_base(cls, value: object) -> Tree:
        """The tree of ``value``, whose adapters all belong to one base model.

        Raises:
            CompositionError: As :meth:`of`.
            BaseModelMismatchError: Two adapters do not; the message names both.
        """
        tree = cls.of(value)
        tree._check_one_base()
        return tree

    def _check_one_base(self) -> None:
        first, *others = self.adapters
        for other in others:
            if first.base is not None and other.base is not None:
                if not same_base(first.base, other.base):
                    raise base_mismatch(str(first), first.base, str(other), other.base)
            elif not _may_share_base(first, other):
                raise BaseModelMismatchError(
                    f"{first} and {other} belong to different base models: {_describe(first)} and "
                    f"{_describe(other)}. Adapters combine on one base model only."
                )


def names_of(parts: Sequence[object]) -> list[str]:
    """The names of the parts of a fusion or a mix, with a number if two are alike."""
    names: list[str] = []
    for part in parts:
        name, number = str(part), 1
        while name in names:
            number += 1
            name = f"{part}#{number}"
        names.append(name)
    return names


_NUMBER = re.compile(r"\.\d+(?=\.)")


def without_number(site: Site) -> str:
    """The name of a site without the number of its layer: what like places in all layers share."""
    return _NUMBER.sub("", str(site), count=1)


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
