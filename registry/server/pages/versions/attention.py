"""The attention of a fusion, which hubkit publishes with it, as a table with shades."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from registry.fields import Count, Word

ATTENTION_NAME = "attention.json"
"""The file of a version with the attention; any program can have written it."""

MOST_BYTES = 256 * 1024
"""Bytes of a file that is read."""

MOST_PARTS = 24
"""Parts of a fusion that are shown."""

MOST_SITES = 128
"""Places that are shown."""

SHADES = 10
"""Shades from 0 to 1."""

_Weight = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Site(BaseModel):
    model_config = ConfigDict(frozen=True)

    layer: Count | None
    place: Word
    weights: Annotated[tuple[_Weight | None, ...], Field(max_length=1024)]


class _Attention(BaseModel):
    model_config = ConfigDict(frozen=True)

    data: Word
    rows: Count
    sites: Annotated[tuple[_Site, ...], Field(max_length=1024)]


@dataclass(frozen=True, slots=True)
class Weight:
    """The weight of a part at a site.

    Attributes:
        text: The weight; empty if the part adds nothing.
        shade: Its shade.
    """

    text: str
    shade: int


@dataclass(frozen=True, slots=True)
class Site:
    """A row of the table.

    Attributes:
        place: Its place in the model.
        weights: The weight of each part.
    """

    place: str
    weights: tuple[Weight, ...]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The attention of a fusion.

    Attributes:
        data: The name of the rows that the means are taken over.
        rows: The number of these rows.
        parts: The names of the parts.
        sites: The rows of the table.
        more: The number of parts that are left out.
        more_sites: The number of places that are left out.
    """

    data: str
    rows: int
    parts: tuple[str, ...]
    sites: tuple[Site, ...]
    more: int
    more_sites: int


def heat_map(content: bytes, parts: Sequence[str]) -> HeatMap | None:
    """Return the attention in a file; None if it has none that can be shown.

    Args:
        content: The bytes of the file.
        parts: The names of the parts, in the order of the manifest.
    """
    try:
        read = _Attention.model_validate_json(content)
    except ValidationError:
        return None
    if not read.sites or any(len(site.weights) != len(parts) for site in read.sites):
        return None
    return HeatMap(
        data=read.data,
        rows=read.rows,
        parts=tuple(parts[:MOST_PARTS]),
        sites=tuple(
            Site(
                site.place if site.layer is None else f"layer {site.layer}, {site.place}",
                tuple(_weight(one) for one in site.weights[:MOST_PARTS]),
            )
            for site in read.sites[:MOST_SITES]
        ),
        more=len(parts[MOST_PARTS:]),
        more_sites=len(read.sites[MOST_SITES:]),
    )


def _weight(value: float | None) -> Weight:
    return Weight("", 0) if value is None else Weight(f"{value:.2f}", round(value * SHADES))
