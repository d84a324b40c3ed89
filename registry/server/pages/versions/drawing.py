"""A drawing of the parents and users of a version: columns of boxes, and lines between."""

from collections.abc import Iterable
from dataclasses import dataclass

from registry.tables.lineage import Relatives
from registry.tables.versions import Version

_WIDTH, _HEIGHT = 208, 44
_GAP, _SPACE = 56, 12
"""Pixels of a box, between columns and between the boxes of a column."""

_MARGIN = 8
_LONGEST = 26
"""Characters of a name that fit into a box."""

UNSEEN, GONE = "not to be seen", "a deleted adapter"


@dataclass(frozen=True, slots=True)
class Box:
    """A version in a drawing.

    Attributes:
        x: Its left side.
        y: Its top.
        name: Its name, shortened.
        whole: Its full name.
        note: The text below its name.
        is_here: Whether it is the version of the page.
        is_unseen: Whether it has no name.
    """

    x: int
    y: int
    name: str
    whole: str
    note: str
    is_here: bool
    is_unseen: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """Boxes and lines, for an SVG image.

    Attributes:
        width: The width of the image.
        height: The height of the image.
        box: Width and height of each box.
        boxes: The boxes.
        lines: The paths from parents to users.
    """

    width: int
    height: int
    box: tuple[int, int]
    boxes: tuple[Box, ...]
    lines: tuple[str, ...]


def draw(version: Version, parents: Relatives, users: Relatives) -> Drawing:
    """Return a drawing: the parents of a version on its left, its users on its right.

    Args:
        version: The version in the middle.
        parents: Its parents.
        users: Its users.
    """
    here = version.manifest_digest
    columns = {one: -far for one, far in _distances(here, parents.links).items()}
    columns |= _distances(here, users.links)
    members = {**parents.members, here: version, **users.members}
    lines = [(to, start) for start, to in parents.links] + [*users.links]
    places = _places({one: columns[one] for one in members})
    return Drawing(
        width=max(x for x, _ in places.values()) + _WIDTH + _MARGIN,
        height=max(y for _, y in places.values()) + _HEIGHT + _MARGIN,
        box=(_WIDTH, _HEIGHT),
        boxes=tuple(_box(member, places[one], one == here) for one, member in members.items()),
        lines=tuple(_line(places[start], places[to]) for start, to in dict.fromkeys(lines)),
    )


def shortened(name: str) -> str:
    """Return a name that fits into a box: its middle is left out, its version stays."""
    if len(name) <= _LONGEST:
        return name
    start, at, number = name.rpartition("@")
    end = f"…{at}{number}" if at else "…"
    return f"{(start or name)[: _LONGEST - len(end)]}{end}"


def _distances(root: str, links: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Return the distance of each from the root, by the longest way: lines lead outwards."""
    pairs, found = [*links], {root: 0}
    # A user has another digest than its parents, so no way leads back.
    for _ in range(len(pairs) + 1):
        before = dict(found)
        for start, to in pairs:
            if start in found:
                found[to] = max(found.get(to, 0), found[start] + 1)
        if found == before:
            break
    return found


def _places(columns: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Return the place of each box, from the number of its column."""
    first = min(columns.values())
    rows: dict[int, list[str]] = {}
    for one, column in columns.items():
        rows.setdefault(column, []).append(one)
    step = _HEIGHT + _SPACE
    tallest = max(len(row) for row in rows.values()) * step
    places = {}
    for column, row in rows.items():
        top = _MARGIN + (tallest - len(row) * step) // 2
        for place, one in enumerate(row):
            places[one] = (_MARGIN + (column - first) * (_WIDTH + _GAP), top + place * step)
    return places


def _box(member: Version | None, place: tuple[int, int], is_here: bool) -> Box:
    if member is None:
        return Box(*place, UNSEEN, UNSEEN, "hidden or gone", False, True)
    note = member.kind if member.kind == member.method else f"{member.kind}, {member.method}"
    whole = GONE if member.ref.is_nameless else str(member.ref)
    return Box(*place, shortened(whole), whole, shortened(note), is_here, False)


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    x, y = start[0] + _WIDTH, start[1] + _HEIGHT // 2
    to_x, to_y = end[0], end[1] + _HEIGHT // 2
    middle = (x + to_x) // 2
    return f"M {x} {y} C {middle} {y} {middle} {to_y} {to_x} {to_y}"
