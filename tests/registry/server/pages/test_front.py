"""The front page: search, filters, order, pages, and nothing that a visitor may not see."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import event

from registry import AdapterRef
from registry.server import memory
from registry.server.hub import Hub
from registry.server.pages import front
from tests.registry.server.pages.conftest import Publish
from tests.support.asgi import Answer, Ask
from tests.support.html import Element, read
from tests.support.people import People

pytestmark = pytest.mark.once

BERT = {"id": "google/bert", "architecture": "BertModel", "hidden_size": 8, "num_layers": 2}


def names(answer: Answer) -> list[str]:
    """The repositories in the list, in its order."""
    return [one.text for one in entries(answer)]


def entries(answer: Answer) -> list[Element]:
    """The headings of the list."""
    lists = read(answer).all("ul", class_="entries")
    return [one for found in lists for one in found.all("h2")]


def suggested(page: Element, field: str) -> list[str]:
    """What a field suggests."""
    return [
        one["value"]
        for one in page.one("datalist", id=page.one("input", name=field)["list"]).all("option")
    ]


@pytest.fixture
def shelf(publish: Publish) -> None:
    """Three public adapters, and two private ones, one of acme."""
    publish("alice/film", task="sentiment", task_type="text-classification", language="en")
    publish("bob/names", base_model=BERT, method={"type": "lora"}, task_type="token-classification")
    publish("acme/film-names", base_model=BERT, task_type="text-classification", tags=["x y"])
    publish("alice/secret", "private", base_model={**BERT, "id": "hidden/base"}, tags=["hidden"])
    publish("acme/secret", "private", method={"type": "par_bn"}, task_type="ranking")


def test_models_are_listed_with_what_they_are(asks: Ask, shelf: None) -> None:
    page = read(asks("GET", "/"))
    assert page.one("h1").text == "Models"
    one = page.one("ul", class_="entries").all("li")[0]
    assert one.one("h2").links == {"acme/film-names": "/acme/film-names"}
    told = [item.text for item in one.one("ul", class_="facts").all("li")]
    assert told[:2] == ["text-classification", "base google/bert"]
    assert told[2].startswith("changed 20")
    assert told[3] == "0 downloads"
    assert one.links["google/bert"] == "/bases/google/bert"


def test_search_and_filters_narrow_the_list(asks: Ask, shelf: None) -> None:
    for query, expected in (
        ("", ["acme/film-names", "bob/names", "alice/film"]),
        ("?sort=created", ["acme/film-names", "bob/names", "alice/film"]),
        ("?q=FILM", ["acme/film-names", "alice/film"]),
        ("?q=film+names", ["acme/film-names"]),
        ("?q=al", ["alice/film"]),
        ("?q=%25", []),
        ("?base=google/bert", ["acme/film-names", "bob/names"]),
        ("?base=google%2Fbert&method=lora", ["bob/names"]),
        ("?task=text-classification", ["acme/film-names", "alice/film"]),
        ("?task=text-classification&base=google/bert", ["acme/film-names"]),
        ("?tag=x+y", ["acme/film-names"]),
        ("?base=hidden/base", []),
        ("?tag=hidden", []),
        ("?q=secret", []),
        ("?task=ranking", []),
    ):
        assert names(asks("GET", f"/{query}")) == expected, query


def test_the_form_keeps_what_was_asked(asks: Ask, shelf: None) -> None:
    asked = {"q": 'fi "lm', "base": "google/bert", "task": "<b>", "method": "lora", "tag": "a&b"}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in asked.items())
    page = read(asks("GET", f"/?{query}&sort=downloads"))
    form = page.one("form")
    assert (form["method"], form["action"]) == ("get", "/")
    assert {name: form.one("input", name=name)["value"] for name in asked} == asked
    chosen = [one["value"] for one in form.all("option") if "selected" in one.attributes]
    assert chosen == ["downloads"]


def test_more_filters_are_shown_where_one_is_set(asks: Ask) -> None:
    for query, is_open in (
        *(("", False), ("?q=x&base=b&task=t&sort=modified", False), ("?tag=x", True)),
        *(("?language=en", True), ("?method=lora", True), ("?sort=created", True)),
    ):
        more = read(asks("GET", f"/{query}")).one("details")
        assert ("open" in more.attributes) is is_open, query


def test_an_order_that_there_is_not_is_refused(asks: Ask) -> None:
    answer = asks("GET", "/?sort=stars")
    assert answer.status == 400
    assert "does not sort by 'stars'" in read(answer).one("main").text
    many = asks("GET", "/?q=" + "+".join("abcdefghi"))
    assert many.status == 400
    assert "at most 8 words" in read(many).one("main").text
    assert asks("GET", "/?cursor=x").status == 400


def test_what_is_fetched_most_comes_first_where_that_is_asked(
    asks: Ask, shelf: None, hub: Hub, people: People
) -> None:
    found = people.catalog.history.find("model", AdapterRef("alice", "film"))
    assert found is not None
    for _ in range(1234):
        hub.counts.download(found.id)
    hub.write_counts()
    answer = asks("GET", "/?sort=downloads")
    assert names(answer)[0] == "alice/film"
    assert "1,234 downloads" in read(answer).one("main").text


def test_what_is_private_is_listed_for_whoever_may_see_it(asks: Ask, shelf: None) -> None:
    acme, alice = "acme/secret private", "alice/secret private"
    for by, seen in (
        (None, []),
        ("bob", []),
        ("carol", [acme]),
        ("alice", [acme, alice]),
        ("root writes", []),
        ("root", [acme, alice]),
    ):
        answer = asks("GET", "/", by=by)
        assert sorted(one for one in names(answer) if "secret" in one) == seen, by
        if not seen:
            for word in (b"secret", b"hidden", b"par_bn", b"ranking"):
                assert word not in answer.body


@pytest.mark.parametrize("quick", [0.0, 60.0])
def test_fields_suggest_what_public_models_have(
    asks: Ask, shelf: None, people: People, monkeypatch: pytest.MonkeyPatch, quick: float
) -> None:
    monkeypatch.setattr(memory, "QUICK", quick)
    for by in (None, "alice", "root"):
        page = read(asks("GET", "/", by=by))
        assert suggested(page, "base") == ["google/bert", "sentence-transformers/all-MiniLM-L6-v2"]
        assert suggested(page, "method") == ["seq_bn", "lora"]
        assert suggested(page, "task") == ["text-classification", "token-classification"]
    shown = people.catalog.history.find("model", AdapterRef("bob", "names"))
    assert shown is not None
    people.catalog.history.set_visibility(shown, "private", "bob")
    page = read(asks("GET", "/"))
    assert suggested(page, "method") == ["seq_bn"]
    assert suggested(page, "task") == ["text-classification"]


def test_a_long_list_has_pages_that_keep_the_search(
    asks: Ask, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "PAGE", 2)
    for number in range(3):
        people.make(f"alice/part-{number}")
    people.make("alice/other")
    first = asks("GET", "/?q=part&sort=created")
    links = read(first).one("nav", class_="pages").links
    assert [*links] == ["Next page"]
    second = asks("GET", links["Next page"])
    assert names(first) + names(second) == ["alice/part-2", "alice/part-1", "alice/part-0"]
    assert read(second).one("nav", class_="pages").links == {"First page": "/?q=part&sort=created"}
    assert not read(asks("GET", "/?q=part-1")).all("nav", class_="pages")


def test_pages_ask_the_database_as_often_however_much_there_is(
    asks: Ask, publish: Publish, people: People
) -> None:
    engine, statements = people.catalog.database.backend.engine, list[str]()

    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        statements.append(statement)

    counts = []
    for names_of_more in (["a"], ["b", "c", "d"]):
        for name in names_of_more:
            publish(f"alice/{name}", base_model=BERT)
        asks("GET", "/")  # what is suggested is found by whoever comes first
        event.listen(engine, "before_cursor_execute", note)
        found = []
        for target in ("/", "/?base=google/bert&method=seq_bn", "/bases/google/bert", "/alice"):
            statements.clear()
            assert asks("GET", target, by="alice").status == 200
            found.append(len(statements))
        event.remove(engine, "before_cursor_execute", note)
        counts.append(found)
    assert counts[0] == counts[1]
    assert max(counts[0]) <= 12


@pytest.mark.parametrize(
    ("path", "title", "kind"),
    [("/datasets", "Datasets", "dataset"), ("/spaces", "Spaces", "space")],
)
def test_data_sets_and_spaces_have_pages_of_their_own(
    asks: Ask, people: People, path: str, title: str, kind: Any
) -> None:
    people.make("alice/model")
    people.make("alice/rows", kind=kind)
    people.make("alice/secret", "private", kind=kind)
    answer = asks("GET", path)
    page = read(answer)
    assert page.one("h1").text == title
    assert [one.links for one in entries(answer)] == [{"alice/rows": f"{path}/alice/rows"}]
    assert not page.one("form").all("input", name="base")
    assert page.one("form")["action"] == path
    assert names(asks("GET", "/")) == ["alice/model"]


@pytest.mark.parametrize(
    ("path", "by", "line"),
    [
        ("/", None, "hf upload NAME/my-adapter ./my-adapter"),
        ("/", "alice", "hf upload alice/my-adapter ./my-adapter"),
        ("/datasets", None, "hf upload NAME/my-data ./my-data --repo-type dataset"),
        ("/spaces", None, "hf upload NAME/my-space ./my-space --repo-type space"),
    ],
)
def test_an_empty_hub_says_how_to_push(asks: Ask, path: str, by: str | None, line: str) -> None:
    page = read(asks("GET", path, by=by, host="10.1.2.3:80"))
    assert page.one("pre").raw.splitlines() == [
        "export HF_ENDPOINT=http://10.1.2.3:80",
        "export HF_TOKEN=hubkit_...",
        line,
    ]


def test_a_search_without_an_answer_leads_back_to_everything(asks: Ask, shelf: None) -> None:
    main = read(asks("GET", "/?q=nothing-like-this")).one("main")
    assert "Nothing that you may see fits." in main.text
    assert main.links["Show all"] == "/"
    assert not main.all("pre")


def test_a_part_of_the_id_of_a_base_model_leads_to_the_whole(asks: Ask, shelf: None) -> None:
    main = read(asks("GET", "/?base=BERT&method=lora")).one("main")
    assert main.links["google/bert"] == "/?base=google%2Fbert&method=lora"
    assert names(asks("GET", main.links["google/bert"])) == ["bob/names"]
    for query in ("?base=google/bert&q=nothing", "?base=hidden", "?q=nothing"):
        assert [*read(asks("GET", f"/{query}")).one("main").links] == ["Show all"], query


def test_hostile_names_are_shown_as_text(asks: Ask, publish: Publish) -> None:
    evil = "<script>alert(1)</script>"
    publish(
        "alice/evil",
        base_model={**BERT, "id": f'x/{evil}"onload="y'},
        tags=[evil],
        language="en",
    )
    page = read(asks("GET", f"/?tag={quote(evil, safe='')}"))
    assert f'base x/{evil}"onload="y' in page.one("ul", class_="entries").text
    assert page.one("input", name="tag")["value"] == evil
    assert len(page.all("script")) == 1
    target = page.links[f'x/{evil}"onload="y']
    assert read(asks("GET", target)).one("h1").text == f'Base model x/{evil}"onload="y'
