"""What is read of a file that says what a fusion attends to; anybody may have written it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.server.pages.versions.attention import MOST_PARTS, MOST_SITES, Weight, heat_map

pytestmark = pytest.mark.once

SITE = {"layer": 1, "place": "output", "weights": [0.254, None]}


def file(*sites: Any, **fields: Any) -> bytes:
    return json.dumps({"data": "films#12", "rows": 8, "sites": sites, **fields}).encode()


def test_each_place_has_a_row_and_each_part_a_column() -> None:
    found = heat_map(file(SITE, {**SITE, "layer": None, "place": "pooler"}), ["a@1", "b@2"])
    assert found is not None
    assert (found.data, found.rows, found.parts, found.more) == ("films#12", 8, ("a@1", "b@2"), 0)
    assert [site.place for site in found.sites] == ["layer 1, output", "pooler"]
    assert found.sites[0].weights == (Weight("0.25", 3), Weight("", 0))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        file(),
        file({**SITE, "weights": [0.5]}),
        file({**SITE, "weights": [0.5, 2]}),
        file({**SITE, "weights": [0.5, -0.1]}),
        file({**SITE, "weights": ["x", "y"]}),
        b'{"data": "d", "rows": 1, "sites": [{"layer": 0, "place": "p", "weights": [NaN, 1]}]}',
        file({**SITE, "layer": -1}),
        file({**SITE, "place": "a\nb"}),
        file(*[SITE] * 1025),
        file(SITE, rows=-1),
        file(SITE, data=""),
    ],
)
def test_a_file_that_says_something_else_is_not_shown(content: bytes) -> None:
    assert heat_map(content, ["a@1", "b@2"]) is None


@given(st.binary(max_size=200))
def test_no_bytes_are_an_error(content: bytes) -> None:
    assert heat_map(content, ["a"]) is None


def test_many_places_are_cut_and_counted() -> None:
    found = heat_map(file(*[SITE] * (MOST_SITES + 2)), ["a", "b"])
    assert found is not None
    assert (len(found.sites), found.more_sites) == (MOST_SITES, 2)


def test_many_parts_are_cut_and_counted() -> None:
    names = [f"p{number}" for number in range(MOST_PARTS + 3)]
    found = heat_map(file({**SITE, "weights": [1 / len(names)] * len(names)}), names)
    assert found is not None
    assert (len(found.parts), len(found.sites[0].weights), found.more) == (
        MOST_PARTS,
        MOST_PARTS,
        3,
    )
