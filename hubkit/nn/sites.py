"""The names of the places in a base model where deltas are added."""

from __future__ import annotations

from typing import Literal, NamedTuple

Place = Literal["attention", "feed_forward"]


class Site(NamedTuple):
    """One place where deltas are added: a sub-block of a layer.

    ``layer`` is the layer's module path inside the backbone (``encoder.layer.0``), ``place`` the
    sub-block whose output receives the delta.
    """

    layer: str
    place: Place

    def __str__(self) -> str:
        return f"{self.layer}.{self.place}"
