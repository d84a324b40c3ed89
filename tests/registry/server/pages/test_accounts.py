"""Users and organisations: what they have made, and who belongs to whom."""

from __future__ import annotations

import pytest

from tests.support.asgi import Answer, Ask
from tests.support.html import read
from tests.support.people import OWNER, People

pytestmark = pytest.mark.once


def names(answer: Answer) -> list[str]:
    return [
        one.text for found in read(answer).all("ul", class_="entries") for one in found.all("h2")
    ]


def test_a_user_has_a_page_with_repositories_and_organisations(asks: Ask, people: People) -> None:
    people.make("alice/mine")
    people.make("alice/secret", "private")
    people.make("bob/other")
    people.make("alice/rows", kind="dataset")
    answer = asks("GET", "/alice")
    page = read(answer)
    assert page.one("h1").text == "alice"
    assert page.one("main").all("p")[0].text.startswith("User since 20")
    assert names(answer) == ["alice/mine"]
    assert page.one("main").links[OWNER] == f"/{OWNER}"
    assert f"{OWNER} (write)" in page.one("main").text
    kinds = page.all("nav")[1]
    assert kinds.links == {
        "Models": "/alice?kind=model",
        "Datasets": "/alice?kind=dataset",
        "Spaces": "/alice?kind=space",
    }
    assert names(asks("GET", "/alice?kind=dataset")) == ["alice/rows"]
    assert names(asks("GET", "/alice?kind=space")) == []
    assert names(asks("GET", "/alice", by="alice")) == ["alice/secret private", "alice/mine"]
    assert names(asks("GET", "/alice", by="bob")) == ["alice/mine"]


def test_an_organisation_has_a_page_with_its_members(asks: Ask, people: People) -> None:
    people.make(f"{OWNER}/secret", "private")
    page = read(asks("GET", f"/{OWNER}"))
    main = page.one("main")
    assert main.all("p")[0].text.startswith("Organisation since 20")
    assert "Nothing here that you may see." in main.text
    assert [one.text for one in main.all("ul")[-1].all("li")] == [
        "alice (write)",
        "carol (read)",
        "dora (admin)",
    ]
    for by in ("alice", "carol", "dora", "root"):
        assert names(asks("GET", f"/{OWNER}", by=by)) == [f"{OWNER}/secret private"]


def test_an_account_without_repositories_says_to_its_owner_how_to_push(asks: Ask) -> None:
    own = read(asks("GET", "/alice?kind=dataset", by="alice"))
    assert own.one("pre").raw.splitlines()[-1] == (
        "hf upload alice/my-data ./my-data --repo-type dataset"
    )
    for by in (None, "bob"):
        assert not read(asks("GET", "/alice", by=by)).all("pre")


def test_a_long_list_has_pages(asks: Ask, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.server.pages.accounts.PAGE", 2)
    for name in "abc":
        people.make(f"alice/{name}")
    first = asks("GET", "/alice")
    second = asks("GET", read(first).one("nav", class_="pages").links["Next page"])
    assert names(first) + names(second) == ["alice/c", "alice/b", "alice/a"]
    assert read(second).one("nav", class_="pages").links == {"First page": "/alice?kind=model"}


def test_what_is_no_account_is_not_there(asks: Ask) -> None:
    for name in ("nobody", "favicon.ico", "%3Cscript%3E", "a b", "-", "models"):
        answer = asks("GET", f"/{name}")
        assert answer.status == 404
        assert read(answer).one("h1").text == "There is nothing here"
    assert asks("GET", "/alice?kind=papers").status == 400
