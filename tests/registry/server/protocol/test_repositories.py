"""Repositories as a whole: made, deleted, moved, shown or hidden, copied, listed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from registry import AdapterRef, Folder, Parent
from registry.accounts.accounts import Accounts
from registry.accounts.tokens import Tokens
from registry.places import Visibility
from tests.support.asgi import Answer, Ask
from tests.support.people import People
from tests.support.sweeps import on_one_each


def create(asks: Ask, name: str, *, by: str | None, **more: Any) -> Answer:
    owner, _, rest = name.rpartition("/")
    body = {"name": rest, "organization": owner or None, **more}
    return asks("POST", "/api/repos/create", by=by, body=body)


def delete(asks: Ask, name: str, *, by: str | None, **more: Any) -> Answer:
    owner, _, rest = name.rpartition("/")
    return asks(
        "DELETE", "/api/repos/delete", by=by, body={"name": rest, "organization": owner, **more}
    )


MAKING = (
    ("mine", "alice", 200),
    ("alice/mine", "alice", 200),
    ("alice/mine", "bob", 403),
    ("alice/mine", "alice reads", 403),
    ("alice/mine", None, 401),
    ("acme/ours", "alice", 200),
    ("acme/ours", "carol", 403),
    ("acme/ours", "bob", 403),
    ("acme/ours", "root", 200),
    ("acme/ours", "root writes", 403),
    ("nobody/theirs", "alice", 403),
    ("nobody/theirs", "root", 403),
    ("alice/.hidden", "alice", 400),
    ("alice/a b", "alice", 400),
)


@on_one_each("name, by, status", MAKING, ids=[f"{name}-{by}" for name, by, _ in MAKING])
def test_repositories_are_made_by_who_may_write_for_their_owner(
    asks: Ask, name: str, by: str | None, status: int
) -> None:
    answer = create(asks, name, by=by)
    assert answer.status == status
    if status == 200:
        full_name = name if "/" in name else f"alice/{name}"
        assert answer.json["url"] == f"http://127.0.0.1:8000/{full_name}"
        assert asks("GET", f"/api/models/{full_name}").status == 200


@pytest.mark.parametrize(
    ("said", "private"),
    [
        ({}, False),
        ({"visibility": "private"}, True),
        ({"visibility": "public"}, False),
        ({"private": True}, True),
        ({"private": False}, False),
    ],
)
def test_a_repository_is_as_private_as_any_client_says_it(
    asks: Ask, said: dict[str, Any], private: bool
) -> None:
    assert create(asks, "alice/mine", by="alice", **said).status == 200
    assert asks("GET", "/api/models/alice/mine", by="alice").json["private"] is private
    assert asks("GET", "/api/models/alice/mine").status == (401 if private else 200)


def test_what_is_there_is_told_with_its_url_and_what_only_looks_like_it_is_refused(
    asks: Ask,
) -> None:
    assert create(asks, "alice/my-model", by="alice").status == 200
    again = create(asks, "alice/my-model", by="alice")
    assert (again.status, again.json["url"]) == (409, "http://127.0.0.1:8000/alice/my-model")
    # A client takes any 409 to mean that its own spelling is there.
    assert create(asks, "alice/My_Model", by="alice").status == 400
    assert create(asks, "alice/my-model", by="alice", type="dataset").status == 200


def test_a_name_in_another_spelling_leads_to_the_right_one(asks: Ask, people: People) -> None:
    people.make("alice/my-model")
    for path in ("/api/models/{}/tree/main?recursive=true", "/{}/resolve/main/.gitattributes"):
        answer = asks("GET", path.format("Alice/My_Model"))
        assert (answer.status, answer.headers["location"]) == (307, path.format("alice/my-model"))
    batch = "/{}.git/info/lfs/objects/batch"
    answer = asks("POST", batch.format("alice/my.model"), by="alice", body={})
    assert (answer.status, answer.headers["location"]) == (307, batch.format("alice/my-model"))


def test_a_moved_repository_is_found_under_its_old_name(asks: Ask, people: People) -> None:
    people.make("alice/before")
    body = {"fromRepo": "alice/before", "toRepo": "acme/after", "type": "model"}
    for by, status in ((None, 401), ("bob", 403), ("alice reads", 403), ("alice", 200)):
        assert asks("POST", "/api/repos/move", by=by, body=body).status == status
    answer = asks("HEAD", "/alice/before/resolve/main/.gitattributes")
    assert (answer.status, answer.headers["location"]) == (
        307,
        "/acme/after/resolve/main/.gitattributes",
    )
    assert asks("GET", "/api/models/acme/after").json["id"] == "acme/after"
    # Only what is called so is deleted.
    assert delete(asks, "alice/before", by="dora").code == "RepoNotFound"
    assert delete(asks, "acme/after", by="dora").status == 200


def test_a_repository_is_moved_to_no_account_that_one_may_not_write_for(
    asks: Ask, people: People
) -> None:
    people.make("bob/mine")
    for owner in ("acme", "nobody"):
        body = {"fromRepo": "bob/mine", "toRepo": f"{owner}/mine", "type": "model"}
        assert asks("POST", "/api/repos/move", by="bob", body=body).status == 403


def test_a_private_repository_that_was_moved_does_not_give_its_name_away(
    asks: Ask, people: People
) -> None:
    people.make("alice/before", "private")
    body = {"fromRepo": "alice/before", "toRepo": "alice/after", "type": "model"}
    assert asks("POST", "/api/repos/move", by="alice", body=body).status == 200
    assert asks("GET", "/api/models/alice/before", by="bob").status == 404
    assert asks("GET", "/api/models/alice/before", by="alice").status == 307


@pytest.mark.parametrize(
    ("by", "status"),
    [(None, 401), ("bob", 403), ("carol", 403), ("alice", 403), ("dora reads", 403), ("dora", 200)],
)
def test_deletion_and_settings_are_for_who_administers_the_owner(
    asks: Ask, people: People, by: str | None, status: int
) -> None:
    people.make("acme/ours")
    settings = "/api/models/acme/ours/settings"
    assert asks("PUT", settings, by=by, body={"visibility": "private"}).status == status
    assert asks("PUT", settings, by=by, body={"private": False}).status == status
    assert delete(asks, "acme/ours", by=by).status == status
    assert asks("GET", "/api/models/acme/ours").status == (401 if status == 200 else 200)


def test_a_second_deletion_finds_nothing_and_the_name_can_be_used_anew(
    asks: Ask, people: People
) -> None:
    people.make("alice/mine")
    old = asks("GET", "/api/models/alice/mine").json["sha"]
    assert delete(asks, "alice/mine", by="alice").status == 200
    assert delete(asks, "alice/mine", by="alice").code == "RepoNotFound"
    assert create(asks, "alice/mine", by="alice").status == 200
    assert asks("GET", f"/api/models/alice/mine/revision/{old}").status in (200, 404)


def test_gated_repositories_are_not_supported(asks: Ask, people: People) -> None:
    people.make("alice/mine")
    settings = "/api/models/alice/mine/settings"
    assert asks("PUT", settings, by="alice", body={"gated": "auto"}).status == 501
    assert asks("PUT", settings, by="alice", body={"gated": False}).status == 200


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_models_datasets_and_spaces_are_listed_apart(asks: Ask, kind: str) -> None:
    for one in ("model", "dataset", "space"):
        assert create(asks, "alice/mine", by="alice", type=one).status == 200
    listed = asks("GET", f"/api/{kind}s").json
    assert [one["id"] for one in listed] == ["alice/mine"]
    assert create(asks, "alice/mine", by="alice", type="kernel").status == 501


def test_a_copy_has_the_same_files_and_is_as_private(asks: Ask, people: People) -> None:
    people.make("alice/mine", "private")
    source = asks("GET", "/api/models/alice/mine/tree/main", by="alice").json
    copy = "/api/models/alice/mine/duplicate"
    assert asks("POST", copy, by="bob", body={"repository": "bob/copy"}).code == "RepoNotFound"
    assert asks("POST", copy, by="alice", body={"repository": "bob/copy"}).status == 403
    answer = asks("POST", copy, by="alice", body={"repository": "acme/copy"})
    assert answer.json["url"] == "http://127.0.0.1:8000/acme/copy"
    assert asks("GET", "/api/models/acme/copy/tree/main", by="alice").json == source
    assert asks("GET", "/api/models/acme/copy", by="bob").code == "RepoNotFound"


@pytest.mark.parametrize(("visibility", "named"), [("private", False), ("public", True)])
def test_a_public_copy_does_not_name_a_private_source(
    asks: Ask, people: People, visibility: str, named: bool
) -> None:
    people.make("alice/mine", visibility)
    lines = (
        b'{"key": "header", "value": {"summary": "Add"}}\n'
        b'{"key": "file", "value": {"path": "a.txt", "content": "YQ=="}}'
    )
    assert asks("POST", "/api/models/alice/mine/commit/main", by="alice", body=lines).status == 200
    wanted = {"repository": "acme/copy", "visibility": "public"}
    asks("POST", "/api/models/alice/mine/duplicate", by="alice", body=wanted)
    shown = asks("GET", "/api/models/acme/copy/commits/main").json
    assert ("alice/mine" in shown[0]["title"]) is named


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


def test_accounts_are_described_by_what_is_no_secret(asks: Ask, people: People) -> None:
    assert asks("GET", "/api/users/alice/overview").json["user"] == "alice"
    assert asks("GET", "/api/organizations/acme/overview").json["numUsers"] == 3
    members = asks("GET", "/api/organizations/acme/members").json
    assert [one["user"] for one in members] == ["alice", "carol", "dora"]
    for path in ("users/acme", "organizations/alice", "users/nobody", "users/.."):
        assert asks("GET", f"/api/{path}/overview").status == 404
    Accounts(people.catalog.store).remove("bob")
    assert asks("GET", "/api/users/bob/overview").status == 404


def test_whoami_tells_the_organisations_and_what_the_token_is_good_for(asks: Ask) -> None:
    told = asks("GET", "/api/whoami-v2", by="alice").json
    assert (told["name"], told["type"]) == ("alice", "user")
    assert [(one["name"], one["roleInOrg"]) for one in told["orgs"]] == [("acme", "write")]
    assert told["auth"]["accessToken"] == {"displayName": "laptop", "role": "write"}
    reads = asks("GET", "/api/whoami-v2", by="alice reads").json["auth"]["accessToken"]
    assert reads == {"displayName": "reads", "role": "read"}


def test_an_owner_that_the_hub_does_not_have_is_not_hosted(asks: Ask, people: People) -> None:
    people.make("alice/mine")
    for path in (
        "/api/models/google/gemma",
        "/google/gemma/resolve/main/config.json",
        "/api/models/gpt2",
        "/gpt2/resolve/main/config.json",
        "/api/models/..%2F/x",
    ):
        for by in (None, "bob"):
            assert asks("GET", path, by=by).code == "NotHosted", path
    assert asks("GET", "/api/models/alice/other", by="bob").code == "RepoNotFound"


@pytest.mark.parametrize("visibility", ["public", "private"])
def test_what_is_left_of_a_deleted_adapter_is_read_by_who_could_read_that_and_changed_by_nobody(
    asks: Ask, people: People, make_folder: Callable[..., Folder], visibility: Visibility
) -> None:
    catalog = people.catalog
    secret = catalog.publish(people.make("acme/parent", visibility).ref, make_folder())
    parent = Parent(ref=str(secret.ref), digest=secret.manifest_digest)
    public = catalog.publish(
        people.make("bob/made").ref, make_folder(kind="stack", parents=[parent])
    )
    assert delete(asks, "acme/parent", by="dora").status == 200
    left = AdapterRef.nameless(secret.manifest_digest)
    assert catalog.parents(public)[0].ref == left.at(1)
    stranger, bob = (200, 200) if visibility == "public" else (401, 404)
    for by, expected in ((None, stranger), ("bob", bob), ("alice", 200), ("root", 200)):
        answer = asks("GET", f"/{left}/resolve/v1/hubkit.json", by=by)
        assert answer.status == expected, by
        if expected == 200:
            assert hashlib.sha256(answer.body).hexdigest() == secret.manifest_digest
    assert [one["id"] for one in asks("GET", "/api/models", by="root").json] == ["bob/made"]
    for by in ("alice", "dora", "root"):
        assert delete(asks, str(left), by=by).code == "RepoNotFound"
        settings = asks("PUT", f"/api/models/{left}/settings", by=by, body={"private": False})
        assert settings.code == "RepoNotFound"
        lines = b'{"key": "header", "value": {"summary": "Add"}}\n'
        sent = asks("POST", f"/api/models/{left}/commit/main", by=by, body=lines)
        assert sent.code == "RepoNotFound"
        move = {"fromRepo": str(left), "toRepo": "acme/mine"}
        assert asks("POST", "/api/repos/move", by=by, body=move).code == "RepoNotFound"
    assert delete(asks, "bob/made", by="bob").status == 200
    assert asks("GET", f"/{left}/resolve/v1/hubkit.json", by="root").status == 404
