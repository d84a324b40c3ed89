"""Signing in with a browser: Basic for what only reads, and back to where one was."""

from __future__ import annotations

from base64 import b64encode

import pytest

from registry.accounts.access import Need
from registry.server.routes import Open
from registry.server.table import ROUTES
from tests.support.asgi import Ask
from tests.support.html import read
from tests.support.people import People

pytestmark = pytest.mark.once


def basic(token: str, user: str = "anything") -> dict[str, str]:
    """The header by which a browser shows a token."""
    return {"authorization": "Basic " + b64encode(f"{user}:{token}".encode()).decode()}


def test_signing_in_asks_for_a_token_and_leads_back(asks: Ask, people: People) -> None:
    asked = asks("GET", "/login?next=%2Falice%2Fa%2520b%3Fx%3D1")
    assert asked.status == 401
    assert asked.headers["www-authenticate"] == 'Basic realm="hubkit", charset="UTF-8"'
    page = read(asked)
    assert page.one("h1").text == "Sign in"
    assert "hubkit token create" in page.one("pre").text
    for user in ("anything", "", "alice"):
        shown = asks(
            "GET",
            "/login?next=%2Falice%2Fa%2520b%3Fx%3D1",
            headers=basic(people.tokens["alice"], user),
        )
        assert (shown.status, shown.headers["location"]) == (303, "/alice/a%20b?x=1")
        assert shown.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "target",
    [
        *("//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "evil"),
        *("javascript:alert(1)", "", "%20//evil.example", "///evil.example", "/%5Cevil.example"),
        *("%2F%2Fevil.example", "%2F%5Cevil.example"),
    ],
)
def test_signing_in_never_leads_to_another_host(asks: Ask, people: People, target: str) -> None:
    answer = asks("GET", f"/login?next={target}", headers=basic(people.tokens["alice"]))
    assert (answer.status, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("target", ["/a%0d%0aSet-Cookie:x", "/%09/evil.example", "/%0a/evil"])
def test_signing_in_leads_to_no_address_with_control_characters(
    asks: Ask, people: People, target: str
) -> None:
    answer = asks("GET", f"/login?next={target}", headers=basic(people.tokens["alice"]))
    assert answer.status == 400
    assert "location" not in answer.headers
    read(answer)


def test_a_path_that_is_no_ascii_is_escaped(asks: Ask, people: People) -> None:
    answer = asks("GET", "/login?next=/%C3%A9%22%3C", headers=basic(people.tokens["alice"]))
    assert answer.headers["location"] == "/%C3%A9%22%3C"


def test_a_token_as_a_password_shows_what_its_account_may_see(asks: Ask, people: People) -> None:
    people.make("alice/secret", "private")
    for by, seen in (("alice", True), ("bob", False)):
        shown = asks("GET", "/", headers=basic(people.tokens[by]))
        page = read(shown)
        assert ("alice/secret" in page.links, page.one("p", class_="who").text) == (
            seen,
            f"Signed in as {by}",
        )
        named = asks("GET", "/api/models", headers=basic(people.tokens[by])).json
        assert [one["id"] for one in named] == (["alice/secret"] if seen else [])
        sent = asks(
            "GET", "/alice/secret/resolve/main/.gitattributes", headers=basic(people.tokens[by])
        )
        assert sent.status == (200 if seen else 404)
        described = asks(
            "HEAD", "/alice/secret/resolve/main/.gitattributes", headers=basic(people.tokens[by])
        )
        assert described.status == sent.status


@pytest.mark.parametrize(
    "value",
    [
        "Basic",
        "Basic !",
        "Basic YQ==",
        "Basic " + b64encode(b"\xff:\xff").decode(),
        "Digest x",
        "x",
    ],
)
def test_a_password_that_is_no_token_is_asked_for_again(asks: Ask, value: str) -> None:
    answer = asks("GET", "/", headers={"authorization": value})
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert read(answer).one("h1").text == "Sign in"
    told = asks("GET", "/api/models", headers={"authorization": value})
    assert (told.status, told.headers["www-authenticate"]) == (401, "Bearer")


def test_a_password_opens_nothing_that_changes_anything(asks: Ask, people: People) -> None:
    made = people.make("alice/mine")
    shown = basic(people.tokens["alice"])
    for route in ROUTES:
        reads = route.method in ("GET", "HEAD") and route.need in (Need.READ, Need.SIGNED_IN)
        if reads or isinstance(route.need, Open):
            continue
        path = next(route.spelled())[0].replace("{owner}", "alice").replace("{name}", "mine")
        for part in ("revision", "branch", "tag", "path...", "more..."):
            path = path.replace(f"{{{part}}}", "main")
        answer = asks(route.method, path, headers=shown, body=b"{}")
        assert (answer.status, b"may only read" in answer.body) == (401, True), route
    assert people.catalog.history.get(made.id).visibility == "public"
