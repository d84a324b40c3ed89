from __future__ import annotations

import pytest

from registry.accounts.tokens import Tokens
from tests.registry.server.protocol.conftest import create
from tests.support.asgi import Ask
from tests.support.people import People


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_models_datasets_and_spaces_are_listed_apart(asks: Ask, kind: str) -> None:
    for one in ("model", "dataset", "space"):
        assert create(asks, "alice/mine", by="alice", type=one).status == 200
    listed = asks("GET", f"/api/{kind}s").json
    assert [one["id"] for one in listed] == ["alice/mine"]
    assert create(asks, "alice/mine", by="alice", type="kernel").status == 501


def test_listings_show_what_is_public_and_ones_own(asks: Ask, people: People) -> None:
    for name in ("alice/open", "alice/secret", "bob/secret", "acme/secret"):
        people.make(name, "public" if name.endswith("open") else "private")

    def listed(by: str | None, query: str = "") -> set[str]:
        return {one["id"] for one in asks("GET", f"/api/models{query}", by=by).json}

    assert listed(None) == {"alice/open"}
    assert listed("bob") == {"alice/open", "bob/secret"}
    assert listed("carol") == {"alice/open", "acme/secret"}
    assert listed("root") == {"alice/open", "alice/secret", "bob/secret", "acme/secret"}
    assert listed("root writes") == {"alice/open"}
    assert listed("bob", "?author=alice") == {"alice/open"}
    assert listed("bob", "?author=nobody") == set()
    assert listed("bob", "?search=SECR") == {"bob/secret"}


def test_a_limited_token_lists_those_private_repositories_that_it_is_limited_to(
    asks: Ask, people: People
) -> None:
    for name in ("alice/open", "alice/secret", "alice/other", "acme/secret"):
        people.make(name, "public" if name.endswith("open") else "private")
    limits = ["alice/secret", "acme/secret"]
    made = Tokens(people.catalog.store).create("alice", "two", "read", repositories=limits)
    people.tokens["two"] = made
    listed = {one["id"] for one in asks("GET", "/api/models", by="two").json}
    assert listed == {"alice/open", "alice/secret", "acme/secret"}


def test_pages_follow_each_other_and_show_each_repository_once(asks: Ask, people: People) -> None:
    names = [people.make(f"alice/r-{number}").full_name for number in range(7)]
    seen, target, pages = [], "/api/models?limit=3&sort=createdAt", 0
    while target:
        answer = asks("GET", target)
        seen += [one["id"] for one in answer.json]
        link = answer.headers.get("link", "")
        assert not link or link.startswith("<http://127.0.0.1:8000/api/models?limit=3&sort=")
        target = link.partition(">")[0].removeprefix("<http://127.0.0.1:8000")
        pages += 1
    assert (seen, pages) == (names[::-1], 3)


@pytest.mark.parametrize("query", ["?limit=0", "?sort=nonsense", "?cursor=x", "?limit=a"])
def test_a_malformed_listing_is_refused(asks: Ask, query: str) -> None:
    assert asks("GET", f"/api/models{query}").status == 400


def test_ones_own_repositories_are_listed_with_what_they_take(asks: Ask, people: People) -> None:
    people.make("alice/m", "private")
    people.make("alice/d", kind="dataset")
    people.make("bob/m")
    target, found = "/api/settings/repositories", []
    while target:
        answer = asks("GET", target, by="alice")
        found += answer.json
        link = answer.headers.get("link", "")
        target = link.partition(">")[0].removeprefix("<http://127.0.0.1:8000")
    assert [(one["id"], one["type"], one["visibility"]) for one in found] == [
        ("alice/m", "model", "private"),
        ("alice/d", "dataset", "public"),
    ]
    assert all(one["storage"] > 0 for one in found)
    of_acme = "/api/organizations/acme/settings/repositories"
    assert asks("GET", of_acme, by="alice").status == 200
    assert asks("GET", of_acme, by="bob").status == 403
