"""The lineage of a version as a page: a drawing, and lists that say the same."""

from __future__ import annotations

import pytest

from registry import AdapterRef
from registry.server.pages import lineage as module
from registry.server.pages.versions.facts import GONE, UNSEEN
from tests.registry.server.pages.conftest import Publish, Push
from tests.support.asgi import Ask
from tests.support.html import Element, read
from tests.support.people import People

pytestmark = pytest.mark.once


def lists(page: Element) -> list[list[str]]:
    """What it is made of, and what uses it."""
    return [[one.text for one in found.all("li")] for found in page.one("main").all("ul")[1:]]


def drawn(page: Element) -> list[str]:
    """The names in the drawing."""
    return [one.one("title").text for one in page.one("svg").all("g")]


def test_all_that_a_version_is_made_of_and_all_that_uses_it_is_drawn_and_listed(
    asks: Ask, publish: Publish
) -> None:
    one, other = publish("alice/one"), publish("bob/other", method={"type": "lora"})
    both = publish("alice/both", parents=(one, other))
    top = publish("bob/top", parents=(both,))
    publish("bob/above", parents=(top,))
    page = read(asks("GET", "/alice/both/lineage"))
    assert lists(page) == [
        [
            "alice/one@1 (adapter, seq_bn), part of alice/both@1",
            "bob/other@1 (adapter, lora), part of alice/both@1",
        ],
        ["bob/top@1 (fusion), made of alice/both@1", "bob/above@1 (fusion), made of bob/top@1"],
    ]
    assert page.links["bob/top@1"] == "/bob/top?revision=v1"
    names = ["alice/one@1", "bob/other@1", "alice/both@1", "bob/top@1", "bob/above@1"]
    assert drawn(page) == names
    assert page.one("g", class_="here").one("title").text == "alice/both@1"
    assert len(page.one("svg").all("path")) == 4
    assert page.one("svg")["role"] == "img"
    assert page.one("svg").all("a") == []


def test_a_hidden_relative_is_drawn_and_listed_without_a_name(asks: Ask, publish: Publish) -> None:
    secret = publish("bob/secret", visibility="private")
    hidden = publish("bob/hidden", parents=(secret,), visibility="private")
    both = publish("alice/both", parents=(hidden,))
    publish("bob/user", parents=(both,), visibility="private")
    answer = asks("GET", "/alice/both/lineage")
    page = read(answer)
    assert lists(page) == [[f"{UNSEEN}, part of alice/both@1"]]
    assert "Nothing that you may see." in page.one("main").text
    assert len(drawn(page)) == 2
    for name in (b"secret", b"hidden@", b"bob/"):
        assert name not in answer.body, name
    own = read(asks("GET", "/alice/both/lineage", by="bob"))
    assert drawn(own) == ["bob/hidden@1", "bob/secret@1", "alice/both@1", "bob/user@1"]


def test_a_large_lineage_is_cut_and_counted(
    asks: Ask, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    one = publish("alice/one")
    for number in range(5):
        publish(f"alice/user-{number}", parents=(one,))
    page = read(asks("GET", "/alice/one/lineage"))
    (users,) = lists(page)
    assert users[2:] == ["and 3 more"]
    assert drawn(page) == ["alice/one@1", "alice/user-0@1", "alice/user-1@1"]


def test_the_lineage_of_an_older_version_is_its_own(asks: Ask, publish: Publish) -> None:
    publish("alice/a", tags=["1"])
    publish("alice/a", tags=["2"], parents=(publish("alice/one"),))
    assert drawn(read(asks("GET", "/alice/a/lineage"))) == ["alice/one@1", "alice/a@2"]
    page = read(asks("GET", "/alice/a/lineage?revision=v1"))
    assert page.all("svg") == []
    assert "Nothing else: it was trained by itself." in page.one("main").text


def test_where_there_is_no_version_there_is_no_lineage(asks: Ask, push: Push) -> None:
    push("alice/a", {"a.txt": b"x"})
    push("alice/d", {"a.txt": b"x"}, kind="dataset")
    for path in ("/alice/a/lineage", "/datasets/alice/d/lineage"):
        page = read(asks("GET", path))
        assert "There is no version here" in page.one("main").text
        assert page.all("svg") == []


def test_a_deleted_parent_is_said_to_be_deleted_and_a_deleted_user_is_not_there(
    asks: Ask, publish: Publish, people: People
) -> None:
    one, other = publish("bob/one"), publish("bob/other")
    middle = publish("bob/middle", parents=(one, other))
    publish("alice/top", parents=(middle,))
    for name in ("bob/middle", "bob/other"):
        people.catalog.delete(AdapterRef.parse(name))
    answer = asks("GET", "/alice/top/lineage")
    page = read(answer)
    assert lists(page)[0] == [
        f"{GONE} (fusion), part of alice/top@1",
        f"bob/one@1 (adapter, seq_bn), part of {GONE}",
        f"{GONE} (adapter, seq_bn), part of {GONE}",
    ]
    assert b"middle" not in answer.body
    left = read(asks("GET", page.links[GONE]))
    assert left.one("main").all("p")[0].text.startswith("This adapter was deleted.")
    assert "deleted" not in left.one("h1").links
    users = read(asks("GET", "/bob/one/lineage"))
    assert "Nothing that you may see." in users.one("main").text
