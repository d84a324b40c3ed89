"""What is not published, what is left alone, and how a broken publication goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog
from registry.errors import (
    ConflictError,
    InvalidNameError,
    RefNotFoundError,
    RemoteAccessError,
    RemoteConflictError,
    RemoteError,
    RemoteUnreachableError,
)
from tests.support.foreign import PEFT, copy
from tests.support.hub import Asked, Hub
from tests.support.misbehaving import MisbehavingHub, about
from tests.support.roundtrip import WEIGHTS, come_as, push
from tests.support.shelf import publish_lora


def test_a_tag_that_holds_something_else_is_a_conflict(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    repo = hub.create("ada/film", {"other.txt": b"x"})
    repo.tag("v1")
    before = repo.files()
    with pytest.raises(ConflictError, match=r"has something else under v1: .* found none"):
        push(catalog, hub, "film")
    assert repo.files() == before


def test_a_commit_in_between_is_noticed_and_nothing_is_published(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    publish_lora(catalog)
    repo = misbehaving_hub.create("ada/film")

    def interfere(asked: Asked) -> None:
        if asked.path.endswith("/preupload/main"):
            repo.put({"theirs": b"x"})

    misbehaving_hub.before = interfere
    with pytest.raises(RemoteError, match="was changed by someone else in the meantime"):
        push(catalog, misbehaving_hub, "film")
    assert (repo.files().keys(), repo.tags) == ({".gitattributes", "theirs"}, {})


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (lambda one: None, f"it lists no {WEIGHTS}"),
        (lambda one: one | {"size": 1, "lfs": one["lfs"] | {"size": 1}}, f"{WEIGHTS} has .* bytes"),
        (lambda one: one | {"lfs": one["lfs"] | {"oid": "0" * 64}}, "bytes and 000000000000"),
        (lambda one: one | {"lfs": None}, f"{WEIGHTS} has .* bytes and"),
    ],
    ids=["missing", "cut", "other", "small"],
)
def test_what_a_hub_does_not_hold_as_sent_is_not_published(
    catalog: Catalog,
    misbehaving_hub: MisbehavingHub,
    lie: Callable[[Any], Any],
    message: str,
) -> None:
    publish_lora(catalog)
    hub = misbehaving_hub
    hub.know_no_versions()
    repo = hub.create("ada/film")
    hub.lies = {"/tree/": about(WEIGHTS, lie)}
    with pytest.raises(RemoteConflictError, match=message):
        push(catalog, hub, "film")
    assert repo.tags == {}
    hub.lies = {}
    assert push(catalog, hub, "film").new
    assert WEIGHTS in repo.files("v1")


def test_a_tag_whose_files_were_changed_is_no_version(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    publish_lora(catalog)
    push(catalog, misbehaving_hub, "film")
    misbehaving_hub.lies = {"/tree/": about("README.md", lambda one: one | {"oid": "0" * 40})}
    assert not push(catalog, misbehaving_hub, "film").new, "a card is its owner's"
    misbehaving_hub.lies = {"/tree/": about(WEIGHTS, lambda one: None)}
    with pytest.raises(RemoteConflictError, match="does not hold what was sent"):
        push(catalog, misbehaving_hub, "film")


def test_a_large_file_that_a_hub_says_it_has_is_asked_for(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    publish_lora(catalog)
    hub = misbehaving_hub
    push(catalog, hub, "film", "one")
    hub.refusals = {f"/{WEIGHTS}": 404}
    with pytest.raises(RemoteConflictError, match=f"said that it has the bytes of {WEIGHTS}"):
        push(catalog, hub, "film", "two")
    assert [*hub.repos] == ["ada/one"], "what was made for it is deleted again"
    hub.refusals = {}
    assert push(catalog, hub, "film", "two").new


@pytest.mark.parametrize("knows_versions", [True, False])
@pytest.mark.parametrize("refused", [{"/commit/main": 507}, {"/tag/": 403}])
def test_a_repository_that_was_made_for_what_fails_is_deleted_again(
    catalog: Catalog,
    misbehaving_hub: MisbehavingHub,
    refused: dict[str, int],
    knows_versions: bool,
) -> None:
    publish_lora(catalog)
    hub = misbehaving_hub
    if not knows_versions:
        hub.know_no_versions()
    hub.refusals = dict(refused)
    with pytest.raises(RemoteError):
        push(catalog, hub, "film")
    assert hub.repos == {}
    hub.create("ada/film")
    with pytest.raises(RemoteError):
        push(catalog, hub, "film")
    assert [*hub.repos] == ["ada/film"], "which was there before"


def test_what_others_put_there_in_the_meantime_is_not_deleted(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    publish_lora(catalog)
    hub = misbehaving_hub
    hub.refusals = {"/tag/": 403}

    def interfere(asked: Asked) -> None:
        if "/tag/" in asked.path:
            hub.repos["ada/film"].put({"theirs": b"x"})

    hub.before = interfere
    with pytest.raises(RemoteAccessError):
        push(catalog, hub, "film")
    assert hub.repos["ada/film"].files()["theirs"] == b"x"


def test_an_empty_repository_that_cannot_be_deleted_is_told(
    catalog: Catalog, misbehaving_hub: MisbehavingHub, caplog: pytest.LogCaptureFixture
) -> None:
    publish_lora(catalog)
    misbehaving_hub.refusals = {"/commit/main": 507, "/repos/delete": 403}
    with pytest.raises(RemoteUnreachableError, match="failed with status 507"):
        push(catalog, misbehaving_hub, "film")
    assert f"{misbehaving_hub.url}/ada/film was made for this and still exists" in caplog.text


def test_a_tag_that_fails_after_its_commit_is_set_by_the_next(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    publish_lora(catalog)
    hub = misbehaving_hub
    hub.know_no_versions()
    repo = hub.create("ada/film")
    hub.refusals = {"/tag/": 507}
    with pytest.raises(RemoteUnreachableError, match="failed with status 507"):
        push(catalog, hub, "film")
    assert repo.tags == {}
    assert len(repo.commits) == 2
    hub.refusals = {}
    assert push(catalog, hub, "film").new
    assert len(repo.commits) == 2
    assert repo.tags == {"v1": repo.branches["main"]}


def test_so_it_is_for_an_older_version_that_is_published_late(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    publish_lora(catalog)
    publish_lora(catalog, which="b")
    hub = misbehaving_hub
    hub.know_no_versions()
    push(catalog, hub, "film@2")
    hub.refusals = {"/tag/": 507}
    with pytest.raises(RemoteUnreachableError):
        push(catalog, hub, "film@1")
    hub.refusals = {}
    assert push(catalog, hub, "film@1").new
    repo = hub.repos["ada/film"]
    assert repo.branches == {"main": repo.tags["v2"]}
    assert (
        repo.files("v1")["adapter_model.safetensors"]
        == (PEFT / "lora" / "a" / "adapter_model.safetensors").read_bytes()
    )


@pytest.mark.parametrize(
    ("token", "name", "message"),
    [
        ("ada reads", "ada/film", "The token that was sent has no right to write to it"),
        ("ada", "nobody/film", r"has no account 'nobody' to put a repository in"),
        ("ada", "bob/film", "The token that was sent has no right to write to it"),
        (
            "unknown",
            "ada/film",
            "does not know the token that was sent: status 401",
        ),
        ("", None, "does not know you, as there is no token for it"),
    ],
)
def test_a_token_without_the_right_is_refused(
    catalog: Catalog,
    hub: Hub,
    token: str,
    name: str | None,
    message: str,
) -> None:
    publish_lora(catalog)
    come_as(hub, token)
    with pytest.raises(RemoteAccessError, match=message):
        push(catalog, hub, "film", name)
    assert hub.repos == {}


def test_a_hub_that_nobody_runs_cannot_be_reached(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    hub.url = "http://127.0.0.1:9"
    come_as(hub, "ada")
    with pytest.raises(
        RemoteUnreachableError, match=r"http://127.0.0.1:9 cannot be reached: .*refused"
    ):
        push(catalog, hub, "film")


def test_offline_no_hub_is_asked(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_lora(catalog)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(RemoteUnreachableError, match="HF_HUB_OFFLINE is set"):
        push(catalog, hub, "film")
    assert hub.requests == []


def test_what_is_not_here_cannot_be_published(catalog: Catalog, hub: Hub) -> None:
    with pytest.raises(RefNotFoundError):
        push(catalog, hub, "film")
    publish_lora(catalog)
    with pytest.raises(InvalidNameError, match="A hub has no repository of that name"):
        push(catalog, hub, "film", "ada/a--b")


def test_a_repository_of_something_else_is_left_alone(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    client = HfApi(endpoint=hub.url, token=hub.tokens["ada"])
    client.create_repo("ada/film")
    client.upload_file(path_or_fileobj=b"mine", path_in_repo="train.py", repo_id="ada/film")
    before = hub.repos["ada/film"].commits
    with pytest.raises(ConflictError, match=r"holds train\.py, which hubkit did not put there"):
        push(catalog, hub, "film")
    assert hub.repos["ada/film"].commits == before


def test_files_that_others_added_stay(catalog: Catalog, hub: Hub, tmp_path: Path) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    client = HfApi(endpoint=hub.url, token=hub.tokens["ada"])
    client.upload_file(path_or_fileobj=b"mine", path_in_repo="train.py", repo_id="ada/film")
    folder = copy(PEFT / "lora" / "a", tmp_path / "again")
    (folder / "notes.txt").write_text("another version")
    publish_folder(catalog, folder, AdapterRef.parse("film"), task="film")
    assert push(catalog, hub, "film").tag == "v2"
    assert hub.repos["ada/film"].files("v2")["train.py"] == b"mine"


def test_what_is_public_is_not_taken_for_private(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    HfApi(endpoint=hub.url, token=hub.tokens["ada"]).create_repo("ada/film")
    with pytest.raises(ConflictError, match="exists already and is public"):
        push(catalog, hub, "film", private=True)
    assert len(hub.repos["ada/film"].commits) == 1
