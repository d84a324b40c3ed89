"""Commits as pages."""

from __future__ import annotations

import pytest

from registry import AdapterRef
from registry.history.changes import Remove
from registry.history.committing import PENDING
from registry.server.hub import Hub
from registry.server.pages import commits as module
from tests.registry.server.pages.conftest import Publish, Push
from tests.registry.server.pages.test_files import rows
from tests.support.asgi import Ask
from tests.support.foreign import PEFT
from tests.support.html import read
from tests.support.people import People

pytestmark = pytest.mark.once

LORA = {path.name: path.read_bytes() for path in (PEFT / "lora" / "a").iterdir()}


def test_commits_are_listed_with_the_version_or_the_reason_why_there_is_none(
    asks: Ask, push: Push
) -> None:
    good = push("alice/a", LORA, title="Add the adapter")
    push("alice/a", {"adapter_config.json": b"{"}, title="Break <b>it</b>")
    page = read(asks("GET", "/alice/a/commits/main"))
    titles = [one.text for one in page.all("h3")]
    assert titles == ["Break <b>it</b>", "Add the adapter", "Make the repository"]
    assert page.links["Add the adapter"] == f"/alice/a/commit/{good.oid}"
    assert page.links["version 1"] == "/alice/a?revision=v1"
    (warning,) = page.all("p", class_="notice warn")
    assert warning.text.startswith("It holds no version.")
    assert asks("GET", "/alice/a/commits/absent").status == 404


def test_a_pending_version_is_said_to_be_pending(asks: Ask, push: Push, people: People) -> None:
    commit = push("alice/a", {"a.txt": b"1"})
    with people.catalog.database.write() as connection:
        connection.exec_driver_sql(
            f"UPDATE commits SET reason = '{PENDING[0]}' WHERE id = {commit.id}"
        )
    for path in ("commits/main", f"commit/{commit.oid}"):
        page = read(asks("GET", f"/alice/a/{path}"))
        assert page.one("p", class_="notice").text.startswith("Its version is pending.")
        assert page.all("p", class_="notice warn") == []


def test_many_commits_come_in_pages(asks: Ask, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    oids = [push("alice/a", {"a.txt": b"%d" % n}, title=f"commit {n}").oid for n in range(3)]
    page = read(asks("GET", "/alice/a/commits/main"))
    assert [one.text for one in page.all("h3")] == ["commit 2", "commit 1"]
    assert page.links["Next page"] == f"/alice/a/commits/main?after={oids[0]}"
    page = read(asks("GET", page.links["Next page"]))
    assert [one.text for one in page.all("h3")] == ["commit 0", "Make the repository"]
    assert page.links["First page"] == "/alice/a/commits/main"


def test_a_commit_shows_what_it_changed(asks: Ask, push: Push, hub: Hub, people: People) -> None:
    first = push("alice/a", {"a.txt": b"1", "b.txt": b"22", "c.txt": b"3"})
    found = hub.history.find("model", AdapterRef.parse("alice/a"))
    assert found is not None
    head = hub.committer.commit(
        found,
        "main",
        [Remove("a.txt")],
        title="Remove a",
        description="Nobody\nneeds it.",
        actor="alice",
    )
    page = read(asks("GET", f"/alice/a/commit/{head.oid}"))
    assert rows(page) == [["a.txt", "removed", "1 B", ""]]
    assert "a.txt" not in page.links
    assert page.one("p", class_="lines").raw == "Nobody\nneeds it."
    assert page.links[first.oid[:12]] == f"/alice/a/commit/{first.oid}"
    changed = push("alice/a", {"b.txt": b"333", "d/e.txt": b"new"})
    page = read(asks("GET", f"/alice/a/commit/{changed.oid}"))
    assert rows(page) == [
        ["b.txt", "changed", "2 B", "3 B"],
        ["d/e.txt", "added", "", "3 B"],
    ]
    assert page.links["d/e.txt"] == f"/alice/a/blob/{changed.oid}/d/e.txt"


def test_the_first_commit_added_all_that_is_in_it(asks: Ask, people: People, hub: Hub) -> None:
    made = people.make("alice/a")
    head = hub.history.resolve(made, "main")
    page = read(asks("GET", f"/alice/a/commit/{head.oid}"))
    assert [row[:2] for row in rows(page)] == [[".gitattributes", "added"]]
    assert "nothing, it is the first" in page.one("main").text
    assert asks("GET", f"/alice/a/commit/{'0' * 40}").status == 404


def test_many_changes_are_cut(asks: Ask, push: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHANGES", 2)
    commit = push("alice/a", dict.fromkeys("abcde", b"x"))
    page = read(asks("GET", f"/alice/a/commit/{commit.oid}"))
    assert [row[0] for row in rows(page)] == ["a", "b"]
    assert "And more files." in page.one("main").text


def test_the_addresses_that_stock_clients_print_are_pages(asks: Ask, publish: Publish) -> None:
    publish("alice/a", files={"README.md": b"# A"})
    oid = asks("GET", "/api/models/alice/a").json["sha"]
    for path in ("", "/tree/main", "/blob/main/README.md", f"/commit/{oid}", f"/tree/{oid}"):
        read(asks("GET", f"/alice/a{path}"))
