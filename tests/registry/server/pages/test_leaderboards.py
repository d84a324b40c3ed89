"""Leaderboards: which there are, each of them, and only of what a visitor may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.registry.server.pages.conftest import Publish
from tests.support.asgi import Answer, Ask
from tests.support.html import read
from tests.support.measurements import measurement
from tests.support.people import People

pytestmark = pytest.mark.once


def rows(answer: Answer) -> list[list[str]]:
    """The cells of the table of a page, without the header."""
    table = read(answer).one("table")
    return [[cell.text for cell in row if cell.tag in ("th", "td")] for row in table.all("tr")][1:]


@pytest.fixture
def shelf(publish: Publish, metric: Callable[..., dict[str, Any]]) -> None:
    """Adapters that were measured, two of which only some may see."""
    publish("alice/low", task="sentiment", metrics=[metric(0.5), metric(9, name="a-loss")])
    publish("bob/high", task="sentiment", metrics=[metric(0.9)])
    publish("alice/best", "private", task="sentiment", metrics=[metric(0.99)])
    publish("alice/hidden", "private", metrics=[metric(1, dataset="hidden", name="secret-f1")])


def test_there_are_those_of_public_adapters(asks: Ask, shelf: None) -> None:
    base = "sentence-transformers/all-MiniLM-L6-v2"
    for by in (None, "alice"):
        assert rows(asks("GET", "/leaderboards", by=by)) == [
            ["imdb", "accuracy", "sentiment", base, "2"],
            ["imdb", "a-loss", "sentiment", base, "1"],
        ]
    assert rows(asks("GET", "/leaderboards?q=IMD&task=sentiment"))
    for query in ("q=hidden", "task=other", "base=other"):
        main = read(asks("GET", f"/leaderboards?{query}")).one("main")
        assert "No public adapter was measured like that." in main.text
        assert main.links == {"Show all": "/leaderboards"}


def test_the_best_come_first(asks: Ask, shelf: None) -> None:
    target = read(asks("GET", "/leaderboards")).all("tbody")[0].links["imdb"]
    page = read(asks("GET", target.replace("a-loss", "accuracy")))
    assert page.one("h1").text == "Leaderboard of imdb"
    assert [one.text for one in page.one("ul", class_="facts").all("li")] == [
        "by accuracy",
        "task sentiment",
        "base sentence-transformers/all-MiniLM-L6-v2",
    ]
    assert [row[:3] for row in rows(asks("GET", "/leaderboards?dataset=imdb&metric=accuracy"))] == [
        ["1", "bob/high@1", "0.9000"],
        ["2", "alice/low@1", "0.5000"],
    ]
    assert page.one("table").links["bob/high@1"] == "/bob/high"


def test_only_what_a_visitor_may_see_is_ranked(asks: Ask, shelf: None) -> None:
    public = ["bob/high@1", "alice/low@1"]
    for by in (None, "bob", "root writes", "alice", "root"):
        own = ["alice/best@1"] if by in ("alice", "root") else []
        answer = asks("GET", "/leaderboards?dataset=imdb&metric=accuracy", by=by)
        assert [row[1] for row in rows(answer)] == [*own, *public], by


def test_what_was_measured_of_private_adapters_alone_is_not_known(asks: Ask, shelf: None) -> None:
    for by in (None, "bob"):
        texts = []
        for name in ("hidden", "absent"):
            answer = asks("GET", f"/leaderboards?dataset={name}", by=by)
            assert b"secret-f1" not in answer.body
            texts.append(answer.body.replace(name.encode(), b"NAME"))
        assert texts[0] == texts[1]
    assert rows(asks("GET", "/leaderboards?dataset=hidden", by="alice"))[0][1] == "alice/hidden@1"


def test_a_recorded_measurement_has_its_interval(
    asks: Ask, publish: Publish, people: People
) -> None:
    version = publish("alice/x")
    people.catalog.record(version.ref, [measurement(value=0.75, low=0.5, high=0.875)])
    (board,) = rows(asks("GET", "/leaderboards"))
    assert board[:2] == ["test.csv#5e5e5e5e5e5e", "accuracy"]
    target = read(asks("GET", "/leaderboards")).one("table").links[board[0]]
    assert rows(asks("GET", target)) == [
        [
            *("1", "alice/x@1", "0.7500", "0.5000 to 0.8750", "test", "seq_bn"),
            "sentence-transformers/all-MiniLM-L6-v2",
        ]
    ]


def test_data_sets_of_one_name_are_told_apart_and_only_those_that_are_seen(
    asks: Ask, publish: Publish, people: People
) -> None:
    for name, visibility, digest in (
        ("alice/a", "public", "aa" * 32),
        ("alice/b", "public", "bb" * 32),
        ("alice/c", "private", "cc" * 32),
    ):
        version = publish(name, visibility)
        people.catalog.record(version.ref, [measurement(data_sha256=digest)])
    page = read(asks("GET", "/leaderboards?dataset=test.csv&metric=accuracy"))
    assert page.one("h1").text == "Which test.csv?"
    assert [*page.one("main").links] == [f"test.csv#{'aa' * 6}", f"test.csv#{'bb' * 6}"]
    target = page.one("main").links[f"test.csv#{'bb' * 6}"]
    assert [row[1] for row in rows(asks("GET", target))] == ["alice/b@1"]
    own = read(asks("GET", "/leaderboards?dataset=test.csv", by="alice"))
    assert len(own.one("main").links) == 3


def test_a_leaderboard_in_the_list_is_of_one_data_set(
    asks: Ask, publish: Publish, people: People, metric: Callable[..., dict[str, Any]]
) -> None:
    first = publish("alice/a", metrics=[metric(0.5)])
    publish("alice/b", metrics=[metric(0.6)])
    people.catalog.record(first.ref, [measurement(dataset="imdb", value=0.75)])
    links = read(asks("GET", "/leaderboards")).one("table").links
    assert [*links] == ["imdb", "imdb#5e5e5e5e5e5e"]
    page = read(asks("GET", links["imdb"]))
    assert page.one("h1").text == "Leaderboard of imdb"
    assert [row[1] for row in rows(asks("GET", links["imdb"]))] == ["alice/b@1", "alice/a@1"]
    (only,) = rows(asks("GET", links["imdb#5e5e5e5e5e5e"]))
    assert only[1:3] == ["alice/a@1", "0.7500"]


def test_without_measurements_the_page_says_how_to_come_to_some(asks: Ask) -> None:
    lines = read(asks("GET", "/leaderboards")).one("pre").raw.splitlines()
    assert lines[1] == "hubkit publish OWNER/NAME --to http://127.0.0.1:8000"


def test_hostile_names_are_shown_as_text(
    asks: Ask, publish: Publish, metric: Callable[..., dict[str, Any]]
) -> None:
    evil = '<img src=x onerror="alert(1)">'
    publish("alice/x", task=evil, metrics=[metric(0.5, dataset=evil, name=evil, split=evil)])
    target = read(asks("GET", "/leaderboards")).one("table").links[evil]
    page = read(asks("GET", target))
    assert page.one("h1").text == f"Leaderboard of {evil}"
    assert len(page.all("img")) == 1
