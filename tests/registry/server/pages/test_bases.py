"""Base models: the list, and what is made for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.registry.server.pages.conftest import Publish
from tests.support.asgi import Ask
from tests.support.html import read

pytestmark = pytest.mark.once

BERT = {"id": "google/bert", "architecture": "BertModel", "hidden_size": 8, "num_layers": 2}
HIDDEN = {**BERT, "id": "hidden/base"}


@pytest.fixture
def shelf(publish: Publish, metric: Callable[..., dict[str, Any]]) -> None:
    """Adapters for three base models, one of which only alice may know of."""
    publish("alice/a", base_model=BERT, task="x", task_type="ranking", metrics=[metric(0.5)])
    publish("bob/b", base_model=BERT, task="x", task_type="text-classification")
    publish("bob/c", task_type="text-classification")
    publish("alice/d", "private", base_model=BERT, task_type="fill-mask")
    publish("alice/e", "private", base_model=HIDDEN, metrics=[metric(0.5, dataset="hidden")])


def test_the_list_counts_what_is_public(asks: Ask, shelf: None) -> None:
    for by in (None, "alice"):
        page = read(asks("GET", "/bases", by=by))
        rows = [[cell.text for cell in row if cell.tag in ("th", "td")] for row in page.all("tr")]
        assert rows == [
            ["Base model", "Repositories", "Task types"],
            ["google/bert", "2", "ranking, text-classification"],
            ["sentence-transformers/all-MiniLM-L6-v2", "1", "text-classification"],
        ]
        assert page.one("table").links["google/bert"] == "/bases/google/bert"
        region = page.one("div", role="region")
        assert (region["tabindex"], region["aria-label"]) == ("0", page.one("caption").text)


def test_the_list_is_searched_by_words(asks: Ask, shelf: None) -> None:
    page = read(asks("GET", "/bases?q=BERT+goo"))
    assert [*page.one("table").links] == ["google/bert"]
    assert page.one("input", name="q")["value"] == "BERT goo"
    nothing = read(asks("GET", "/bases?q=hidden"))
    assert "No public repository is made for such a base model." in nothing.one("main").text
    assert nothing.one("main").links == {"Show all": "/bases"}


def test_without_repositories_the_list_says_what_it_will_hold(asks: Ask) -> None:
    assert "Nothing here yet." in read(asks("GET", "/bases")).one("main").text


def test_a_base_model_has_a_page_with_what_is_made_for_it(asks: Ask, shelf: None) -> None:
    page = read(asks("GET", "/bases/google/bert"))
    main = page.one("main")
    assert main.one("h1").text == "Base model google/bert"
    assert [one.text for one in main.one("ul", class_="entries").all("h3")] == ["bob/b", "alice/a"]
    assert main.one("ul", class_="links").links == {
        "ranking": "/?base=google%2Fbert&task=ranking",
        "text-classification": "/?base=google%2Fbert&task=text-classification",
    }
    assert main.one("table").links == {
        "imdb": "/leaderboards?dataset=imdb%23&metric=accuracy&task=x&base=google%2Fbert"
    }
    assert "fill-mask" not in page.text


def test_what_is_private_is_there_for_whoever_may_see_it(asks: Ask, shelf: None) -> None:
    own = read(asks("GET", "/bases/google/bert", by="alice")).one("ul", class_="entries")
    assert "alice/d private" in [one.text for one in own.all("h3")]
    assert read(asks("GET", "/bases/hidden/base", by="alice")).one("h1")
    for by in (None, "bob"):
        answers = [asks("GET", f"/bases/{name}", by=by) for name in ("hidden/base", "absent/base")]
        assert [one.status for one in answers] == [404, 404]
        bodies = [
            one.body.replace(b"hidden", b"NAME").replace(b"absent", b"NAME") for one in answers
        ]
        assert bodies[0] == bodies[1]


def test_a_long_list_has_pages(
    asks: Ask, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.server.pages.bases.PAGE", 1)
    for name in ("a", "b"):
        publish(f"alice/{name}", base_model={**BERT, "id": "odd #1?/b%c"})
    first = read(asks("GET", "/bases/odd%20%231%3F/b%25c"))
    following = first.one("nav", class_="pages").links["Next page"]
    second = read(asks("GET", following))
    assert [one.text for one in second.all("h3")] == ["alice/a"]
    assert second.one("nav", class_="pages").links == {"First page": "/bases/odd%20%231%3F/b%25c"}
