"""The names of the places in a base model where deltas are added."""

from __future__ import annotations

from typing import Literal, NamedTuple

Place = Literal["attention", "feed_forward"]


class BlockSite(NamedTuple):
    """A sub-block of a layer, to whose output a delta is added.

    ``layer`` is the layer's module path inside the backbone (``encoder.layer.0``), ``place`` says
    which of its sub-blocks.
    """

    layer: str
    place: Place

    def __str__(self) -> str:
        return f"{self.layer}.{self.place}"


class LinearSite(NamedTuple):
    """A linear layer, to whose output a delta of its input is added.

    ``path`` is its module path inside the backbone (``encoder.layer.0.attention.self.query``).
    """

    path: str

    def __str__(self) -> str:
        return self.path


Site = BlockSite | LinearSite


def is_in(site: Site, layer: str) -> bool:
    """Whether ``site`` is in the layer at the module path ``layer``."""
    return str(site).startswith(f"{layer}.")
