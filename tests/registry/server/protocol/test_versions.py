"""The files of a version, and what the description of a repository says of versions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from registry import AdapterRef, Folder
from registry.history.changes import Put, Remove
from registry.history.committing import Committer
from registry.history.history import History
from registry.history.repositories import Repository
from registry.history.trees import TreeFile
from tests.support.asgi import Ask
from tests.support.people import People
from tests.support.roundtrip import LORA, WEIGHTS
from tests.support.trees import info_of, stored

PLACE = "/api/models/alice/film"


def push(people: People, repository: Repository) -> None:
    """Push an adapter as another tool does."""
    stored(people.catalog.blobs, LORA)
    changes = [Put(TreeFile.pointed(path, info_of(content))) for path, content in LORA.items()]
    Committer(people.catalog.store).commit(repository, "main", changes, title="Push", actor="alice")


@pytest.fixture
def pushed(people: People) -> str:
    """alice/film, to which another tool pushed an adapter; return the digest of its manifest."""
    push(people, people.make("alice/film"))
    return people.catalog.resolve(AdapterRef.parse("alice/film@1")).manifest_digest


def told(asks: Ask, revision: str) -> Any:
    return asks("GET", f"{PLACE}/revision/{revision}").json.get("hubkit")


def test_a_description_says_which_version_a_commit_holds(asks: Ask, pushed: str) -> None:
    assert told(asks, "main") == {"newest": 1, "version": {"number": 1, "manifest": pushed}}
    assert asks("GET", PLACE).json["hubkit"] == told(asks, "v1")
    assert "hubkit" not in asks("GET", "/api/models?full=true").json[0]


def test_a_description_of_no_version_says_the_newest_that_is_not_yanked(
    asks: Ask, people: People, pushed: str
) -> None:
    history = History(people.catalog.store)
    found = history.find("model", AdapterRef.parse("alice/film"))
    assert found is not None
    Committer(people.catalog.store).commit(
        found, "main", [Remove("adapter_config.json")], title="Break", actor="alice"
    )
    assert told(asks, "main") == {"newest": 1}
    people.catalog.yank(AdapterRef.parse("alice/film@1"), "wrong")
    assert told(asks, "main") is None
    people.make("alice/empty")
    assert "hubkit" not in asks("GET", "/api/models/alice/empty").json


def test_an_alias_is_a_revision_after_branches_and_tags(
    asks: Ask, people: People, pushed: str
) -> None:
    ref = AdapterRef.parse("alice/film@1")
    people.catalog.set_alias(ref, "best")
    first = asks("GET", f"{PLACE}/revision/v1").json["sha"]
    assert asks("GET", f"{PLACE}/revision/best").json["sha"] == first
    history = History(people.catalog.store)
    found = history.find("model", ref.repository)
    assert found is not None
    change = Put(TreeFile.small("a.txt", b"a"))
    stored(people.catalog.blobs, {"a.txt": b"a"})
    head = Committer(people.catalog.store).commit(
        found, "main", [change], title="Go on", actor="alice"
    )
    assert asks("GET", f"{PLACE}/revision/best").json["sha"] == first
    history.create_branch(found, "best", head, "alice")
    assert asks("GET", f"{PLACE}/revision/best").json["sha"] == head.oid
    assert asks("GET", f"{PLACE}/revision/worst").code == "RevisionNotFound"


def test_a_branch_that_was_called_so_before_the_version_is_told_by_what_it_holds(
    asks: Ask, people: People
) -> None:
    repository = people.make("alice/film")
    assert asks("POST", f"{PLACE}/branch/v1", by="alice", body={}).status == 200
    push(people, repository)
    history = History(people.catalog.store)
    assert history.resolve(repository, "v1").version == 1
    weights = {"path": "adapter_model.safetensors", "size": 3}
    told = asks("POST", f"{PLACE}/preupload/v1", by="alice", body={"files": [weights]})
    assert "oid" not in told.json["files"][0]
    Committer(people.catalog.store).commit(
        repository, "main", [Remove(path) for path in LORA], title="Remove", actor="alice"
    )
    assert asks("GET", f"{PLACE}/lfs-files").json == []


def test_the_files_of_a_version_are_those_of_its_manifest(asks: Ask, pushed: str) -> None:
    manifest = asks("GET", f"{PLACE}/versions/1/hubkit.json")
    assert hashlib.sha256(manifest.body).hexdigest() == pushed
    assert manifest.json["files"].keys() == LORA.keys()
    weights = asks("GET", f"{PLACE}/versions/1/{WEIGHTS}", headers={"range": "bytes=2-5"})
    assert (weights.status, weights.body) == (206, LORA[WEIGHTS][2:6])
    assert asks("HEAD", f"{PLACE}/versions/1/{WEIGHTS}").headers["content-length"] == str(
        len(LORA[WEIGHTS])
    )


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("versions/1/.gitattributes", "EntryNotFound"),
        ("versions/01/hubkit.json", "EntryNotFound"),
        ("versions/x/hubkit.json", "EntryNotFound"),
        ("versions/%D9%A1/hubkit.json", "EntryNotFound"),
        ("versions/2/hubkit.json", "RevisionNotFound"),
        (f"versions/{'9' * 4000}/hubkit.json", "RevisionNotFound"),
    ],
)
def test_what_is_no_version_or_no_file_of_it_is_not_found(
    asks: Ask, pushed: str, path: str, code: str
) -> None:
    answer = asks("GET", f"{PLACE}/{path}")
    assert (answer.status, answer.code) == (404, code)


def test_a_version_that_was_published_is_told_and_sent_the_same_way(
    asks: Ask, people: People, make_folder: Callable[..., Folder]
) -> None:
    people.make("alice/mine")
    version = people.catalog.publish(AdapterRef.parse("alice/mine"), make_folder())
    answer = asks("GET", "/api/models/alice/mine/versions/1/hubkit.json")
    assert hashlib.sha256(answer.body).hexdigest() == version.manifest_digest
    for path, info in people.catalog.manifest(version).files.items():
        sent = asks("GET", f"/api/models/alice/mine/versions/1/{path}")
        assert hashlib.sha256(sent.body).hexdigest() == info.sha256


def test_nobody_reads_the_files_of_a_private_version_but_who_reads_the_repository(
    asks: Ask, people: People, pushed: str
) -> None:
    path = f"{PLACE}/versions/1/hubkit.json"
    assert asks("PUT", f"{PLACE}/settings", by="alice", body={"private": True}).status == 200
    assert (asks("GET", path).status, asks("GET", path, by="bob").status) == (401, 404)
    assert asks("GET", path, by="alice").status == 200
    missing = asks("GET", "/api/models/alice/other/versions/1/hubkit.json", by="bob")
    hidden = asks("GET", path, by="bob")
    assert (missing.body, missing.code) == (hidden.body, hidden.code)
