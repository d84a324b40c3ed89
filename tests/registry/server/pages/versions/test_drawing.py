"""Where boxes and lines of a lineage are drawn."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from registry import AdapterRef, Version
from registry.server.pages.versions.drawing import UNSEEN, Box, Drawing, draw, shortened
from registry.tables.lineage import Relatives

pytestmark = pytest.mark.once

NOTHING = Relatives({}, (), 0, True)


def version(name: str, **fields: Any) -> Version:
    given: dict[str, Any] = dict.fromkeys(Version.__dataclass_fields__)
    given |= {
        "ref": AdapterRef.parse(f"ada/{name}@1"),
        "manifest_digest": name,
        "created_at": datetime(2026, 1, 1, tzinfo=UTC),
        "kind": "fusion",
        "method": "fusion",
    }
    return Version(**(given | fields))


def relatives(*links: tuple[str, str], unseen: tuple[str, ...] = ()) -> Relatives:
    names = dict.fromkeys(to for _, to in links)
    members = {name: None if name in unseen else version(name) for name in names}
    return Relatives(members, links, 0, True)


def columns(drawing: Drawing) -> list[list[str]]:
    """The names of the boxes, column by column, from the left."""
    found: dict[int, list[Box]] = {}
    for box in drawing.boxes:
        found.setdefault(box.x, []).append(box)
    return [[one.whole for one in found[x]] for x in sorted(found)]


def test_parents_stand_on_the_left_and_users_on_the_right_each_as_far_as_it_is() -> None:
    parents = relatives(("here", "both"), ("here", "one"), ("both", "one"), ("both", "two"))
    drawing = draw(version("here"), parents, relatives(("here", "user"), ("user", "top")))
    assert columns(drawing) == [
        ["ada/one@1", "ada/two@1"],
        ["ada/both@1"],
        ["ada/here@1"],
        ["ada/user@1"],
        ["ada/top@1"],
    ]
    assert len(drawing.lines) == 6
    assert [box.whole for box in drawing.boxes if box.is_here] == ["ada/here@1"]


def test_every_line_leads_to_the_right_and_no_boxes_overlap() -> None:
    links = [("here", f"p{n}") for n in range(7)] + [("p0", "p6"), ("p1", "q")]
    drawing = draw(version("here"), relatives(*links), NOTHING)
    for line in drawing.lines:
        start, _, end = (line.split("C")[0], None, line.rsplit(" ", 2)[-2])
        assert int(start.split()[1]) < int(end)
    places = [(box.x, box.y) for box in drawing.boxes]
    width, height = drawing.box
    for one in places:
        assert 0 <= one[0] <= drawing.width - width
        assert 0 <= one[1] <= drawing.height - height
        for other in places:
            near = abs(one[0] - other[0]) < width and abs(one[1] - other[1]) < height
            assert one == other or not near


def test_a_version_alone_is_one_box() -> None:
    drawing = draw(version("here"), NOTHING, NOTHING)
    assert [box.whole for box in drawing.boxes] == ["ada/here@1"]
    assert drawing.lines == ()


def test_what_may_not_be_seen_has_a_box_without_a_name() -> None:
    drawing = draw(version("here"), relatives(("here", "secret"), unseen=("secret",)), NOTHING)
    (box,) = [one for one in drawing.boxes if not one.is_here]
    assert (box.name, box.whole, box.is_unseen) == (UNSEEN, UNSEEN, True)


def test_a_long_name_keeps_its_start_and_its_version() -> None:
    assert shortened("ada/reviews@12") == "ada/reviews@12"
    long = shortened(f"ada/{'x' * 80}@12")
    assert long == "ada/" + "x" * 18 + "…@12"
    assert len(long) == len(shortened("y" * 90)) == 26
