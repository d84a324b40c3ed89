"""Two versions side by side."""

from __future__ import annotations

import pytest

from registry import AdapterRef
from registry.server.pages import compare as module
from registry.server.pages.versions.facts import UNSEEN
from tests.registry.server.pages.conftest import Publish, Push
from tests.support.asgi import Ask
from tests.support.html import Element, read
from tests.support.people import People

pytestmark = pytest.mark.once

METRIC = {"dataset": "films", "split": "test", "name": "accuracy", "higher_is_better": True}


def parts(page: Element) -> dict[str, list[list[str]]]:
    """The rows of each table, by its title."""
    found = {}
    for table in page.all("table"):
        rows = [[cell.text for cell in row if cell.tag in ("th", "td")] for row in table.all("tr")]
        found[table.one("caption").text.removesuffix(", what differs first")] = rows[1:]
    return found


def test_what_differs_is_said_in_words_and_stands_first(asks: Ask, publish: Publish) -> None:
    publish(
        "alice/a",
        task="sentiment",
        labels=["good", "bad"],
        method={"type": "lora", "parameters": {"alpha": 16, "r": 8}},
        metrics=[METRIC | {"value": 0.5}],
    )
    publish(
        "alice/a",
        task="sentiment",
        labels=["good", "poor"],
        method={"type": "lora", "parameters": {"r": 4, "dropout": 0.1, "alpha": 16}},
        metrics=[METRIC | {"value": 0.75}],
    )
    found = parts(read(asks("GET", "/compare?left=alice/a@1&right=alice/a@2")))
    assert ["Task", "sentiment", "sentiment", "the same"] in found["Facts"]
    assert found["Settings of the method"] == [
        ["r", "8", "4", "differs"],
        ["dropout", "nothing", "0.1", "only right"],
        ["alpha", "16", "16", "the same"],
    ]
    assert found["Labels"] == [
        ["1", "bad", "poor", "differs"],
        ["0", "good", "good", "the same"],
    ]
    assert found["Metrics"] == [["accuracy (films, test)", "0.5", "0.75", "differs"]]
    files = {row[0]: row[3] for row in found["Files"]}
    assert files["adapter_config.json"] == "the same"
    assert files["head/weights.bin"] == "differs"


@pytest.mark.parametrize(
    ("named", "ref"),
    [
        ("alice/a", "alice/a@3"),
        ("alice/a@1", "alice/a@1"),
        ("alice/a@v1", "alice/a@1"),
        ("alice/a@best", "alice/a@2"),
        ("alice/a@main", "alice/a@3"),
        (" ALICE/A@1 ", "alice/a@1"),
    ],
)
def test_a_side_is_named_by_number_alias_tag_or_branch(
    asks: Ask, publish: Publish, people: People, named: str, ref: str
) -> None:
    for number in range(3):
        publish("alice/a", tags=[str(number)])
    people.catalog.set_alias(AdapterRef.parse("alice/a@2"), "best")
    page = read(asks("GET", f"/compare?left={named.replace(' ', '+')}&right=alice/a@1"))
    assert page.one("main").all("p")[3].text.startswith(f"Left: {ref}.")


def test_without_two_names_the_page_asks_for_them(asks: Ask) -> None:
    for query in ("", "?left=alice/a", "?left=&right="):
        page = read(asks("GET", f"/compare{query}"))
        assert [one["name"] for one in page.all("input")] == ["left", "right"]
        assert page.all("table") == []
    assert read(asks("GET", "/compare?left=a%22b")).all("input")[0]["value"] == 'a"b'


def test_a_side_that_may_not_be_seen_is_as_one_that_is_not_there(
    asks: Ask, publish: Publish
) -> None:
    publish("alice/a")
    publish("bob/secret", visibility="private")
    hidden = asks("GET", "/compare?left=alice/a&right=bob/secret")
    absent = asks("GET", "/compare?left=alice/a&right=bob/absent")
    assert hidden.status == absent.status == 404
    assert hidden.body == absent.body.replace(b"absent", b"secret")
    assert asks("GET", "/compare?left=alice/a&right=bob/secret", by="bob").status == 200


def test_a_hidden_parent_is_not_named_in_a_comparison(asks: Ask, publish: Publish) -> None:
    publish("alice/a", parents=(publish("bob/secret", visibility="private"),))
    publish("alice/a", tags=["2"])
    answer = asks("GET", "/compare?left=alice/a@1&right=alice/a@2")
    assert ["Made of", UNSEEN, "nothing", "only left"] in parts(read(answer))["Facts"]
    assert b"secret" not in answer.body


@pytest.mark.parametrize("named", ["a", "a/b/c", "@1", "/", "a" * 300 + "/b"])
def test_a_malformed_name_is_refused(asks: Ask, publish: Publish, named: str) -> None:
    publish("alice/a")
    answer = asks("GET", f"/compare?left=alice/a&right={named}")
    assert answer.status in (400, 404)
    read(answer)


def test_a_revision_without_a_version_cannot_be_compared(asks: Ask, push: Push) -> None:
    push("alice/a", {"a.txt": b"x"})
    answer = asks("GET", "/compare?left=alice/a&right=alice/a")
    assert answer.status == 404
    assert "has no version" in read(answer).one("main").text


def test_a_yanked_side_says_so_and_many_rows_are_cut(
    asks: Ask, publish: Publish, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    publish("alice/a", labels=[str(number) for number in range(9)])
    people.catalog.yank(AdapterRef.parse("alice/a@1"), "no")
    page = read(asks("GET", "/compare?left=alice/a@1&right=alice/a@1"))
    assert [row[0] for row in parts(page)["Labels"]] == ["0", "1", "2"]
    assert "And 6 more." in page.one("main").text
    assert [one.text for one in page.all("span", class_="mark warn")] == ["yanked", "yanked"]
