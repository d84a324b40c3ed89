"""Errors as pages: for browsers and on page routes, with the status of the API."""

from __future__ import annotations

import pytest

from registry.errors import BusyDatabaseError, FullDiskError, HubkitError
from registry.server.app import App
from registry.server.hub import Hub, Settings
from registry.server.pages import front
from tests.support.asgi import Ask, Client
from tests.support.html import read
from tests.support.people import People

pytestmark = pytest.mark.once

BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_an_unknown_address_is_a_page_for_browsers_and_json_for_clients(asks: Ask) -> None:
    for target in ("/no/where/at/all", "/static/../../secret", "/static/none.css/x"):
        shown = asks("GET", target, headers=BROWSER)
        assert shown.status == 404
        assert read(shown).one("h1").text == "There is nothing here"
        told = asks("GET", target)
        assert (told.status, told.json) == (404, {"error": "This hub has no such page."})


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("/alice/", "/alice"),
        ("/alice/open/?revision=main", "/alice/open?revision=main"),
        ("/alice/secret/", "/alice/secret"),
        ("/no/where/at/all//", "/no/where/at/all"),
    ],
)
def test_a_slash_at_the_end_leads_to_the_page_without_it(
    asks: Ask, people: People, target: str, meant: str
) -> None:
    people.make("alice/open")
    answer = asks("GET", target, headers=BROWSER)
    assert (answer.status, answer.headers["location"]) == (308, meant)


@pytest.mark.parametrize("target", ["//evil.example/", "/\\evil.example/", "///", "/", "//"])
def test_no_slash_at_the_end_leads_to_another_host(asks: Ask, target: str) -> None:
    assert "location" not in asks("GET", target, headers=BROWSER).headers


def test_errors_of_the_api_stay_json_for_browsers_too(asks: Ask) -> None:
    for target, status in (
        ("/api/models/alice/absent", 401),
        ("/api/whoami-v2", 401),
        ("/api/models?limit=x", 400),
        ("/alice/absent/resolve/main/x", 401),
    ):
        answer = asks("GET", target, headers=BROWSER)
        assert answer.status == status
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers.get("www-authenticate") in (None, "Bearer")


def test_a_page_that_does_not_take_a_method_says_which_it_takes(asks: Ask) -> None:
    answer = asks("POST", "/", headers=BROWSER)
    assert (answer.status, answer.headers["allow"]) == (405, "GET")
    assert read(answer).one("h1").text == "This page cannot take that"


@pytest.mark.parametrize(
    ("error", "status", "title"),
    [
        (BusyDatabaseError("/secret/path is locked"), 503, "The hub is busy"),
        (FullDiskError("/secret/path is full"), 507, "The disk of the hub is full"),
        (RuntimeError("/secret/path"), 500, "Something went wrong"),
    ],
)
def test_what_is_the_fault_of_the_hub_is_told_by_an_id_alone(
    asks: Ask,
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    title: str,
) -> None:
    def fails(*given: object, **more: object) -> None:
        raise error

    monkeypatch.setattr(hub.history, "page", fails)
    answer = asks("GET", "/")
    page = read(answer)
    assert (answer.status, page.one("h1").text) == (status, title)
    assert b"secret" not in answer.body
    assert answer.headers["x-request-id"] in page.one("main").text
    assert answer.headers.get("retry-after") == ("2" if status == 503 else None)


def test_what_an_error_quotes_is_shown_as_text(
    asks: Ask, monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"

    def fails(*given: object, **more: object) -> None:
        raise HubkitError(hostile)

    monkeypatch.setattr(hub.history, "page", fails)
    page = read(asks("GET", "/?sort=" + "%3Cb%3E"))
    assert "<b>" in page.one("main").text
    assert not page.one("main").all("b")


def test_without_a_token_a_closed_hub_shows_pages_to_nobody(people: People) -> None:
    closed = Hub(people.catalog, Settings(sign_in_required=True))
    people.make("alice/open")
    with Client(App(closed)) as client:
        for target in ("/", "/datasets", "/spaces", "/login"):
            answer = client.ask("GET", target)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == 'Basic realm="hubkit", charset="UTF-8"'
            page = read(answer)
            assert page.one("h1").text == "Sign in"
            assert b"alice" not in answer.body
        assert client.ask("GET", "/static/style.css").status == 200
        shown = client.ask("GET", "/", token=people.tokens["bob"])
        assert "alice/open" in read(shown).links


def test_the_page_for_another_host_tells_nothing_of_the_hub(asks: Ask) -> None:
    answer = asks("GET", "/", host="evil.example")
    page = read(answer)
    assert (answer.status, page.one("h1").text) == (421, "This is not the address of the hub")
    assert front.SORTS["modified"] not in page.text
