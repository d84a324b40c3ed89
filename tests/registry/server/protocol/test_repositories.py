"""Repositories as a whole: made, deleted, moved, shown or hidden, copied, listed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from registry import AdapterRef, Folder, Parent
from registry.places import Visibility
from tests.registry.server.protocol.conftest import create
from tests.support.asgi import Answer, Ask
from tests.support.people import People
from tests.support.sweeps import on_one_each


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


def test_a_copy_of_what_is_there_is_told_with_its_url(asks: Ask, people: People) -> None:
    people.make("alice/mine")
    copy = "/api/models/alice/mine/duplicate"
    assert asks("POST", copy, by="alice", body={"repository": "acme/copy"}).status == 200
    answer = asks("POST", copy, by="alice", body={"repository": "acme/copy"})
    assert answer.status == 409
    assert answer.json["url"] == "http://127.0.0.1:8000/acme/copy"
    assert asks("POST", copy, by="alice", body={"repository": "acme/Copy"}).status == 400


def test_a_copy_has_no_file_that_is_not_in_its_source(asks: Ask, people: People) -> None:
    people.make("alice/mine")
    lines = (
        b'{"key": "header", "value": {"summary": "Replace"}}\n'
        b'{"key": "file", "value": {"path": "a.txt", "content": "YQ=="}}\n'
        b'{"key": "deletedFile", "value": {"path": ".gitattributes"}}'
    )
    assert asks("POST", "/api/models/alice/mine/commit/main", by="alice", body=lines).status == 200
    copy = {"repository": "alice/copy"}
    assert asks("POST", "/api/models/alice/mine/duplicate", by="alice", body=copy).status == 200
    assert [one["path"] for one in asks("GET", "/api/models/alice/copy/tree/main").json] == [
        "a.txt"
    ]


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
