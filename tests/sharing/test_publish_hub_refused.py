"""What is not published, what is left alone, and how a broken publication goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
from tests.support.hub import Hub
from tests.support.roundtrip import WEIGHTS, come_as, push
from tests.support.shelf import publish_lora


def commits(hub: Hub, name: str) -> int:
    return len(hub.repos[name].commits)


def test_a_tag_that_holds_something_else_is_a_conflict(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    repo = hub.create("ada/film", {"other.txt": b"x"})
    repo.tags["v1"] = repo.branches["main"]
    with pytest.raises(ConflictError, match=r"has something else under v1: .* found none"):
        push(catalog, hub, "film")
    assert repo.files() == {".gitattributes": b"* text\n", "other.txt": b"x"}


def test_a_commit_in_between_is_noticed_and_nothing_is_published(
    catalog: Catalog, hub: Hub
) -> None:
    publish_lora(catalog)
    repo = hub.create("ada/film")

    def interfere(method: str, path: str) -> None:
        if path.endswith("/preupload/main") and "theirs" not in repo.files():
            repo.commit("main", {"theirs": b"x"}, "in between")

    hub.before = interfere
    with pytest.raises(RemoteError, match="was changed by someone else in the meantime"):
        push(catalog, hub, "film")
    assert (repo.files(), repo.tags) == ({"theirs": b"x"}, {})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda files: files.pop(WEIGHTS), f"it lists no {WEIGHTS}"),
        (lambda files: files.update({WEIGHTS: files[WEIGHTS][:-1]}), f"{WEIGHTS} has .* bytes and"),
        (lambda files: files.update({WEIGHTS: files[WEIGHTS][::-1]}), "and the digest"),
        (lambda files: files.update({"adapter_config.json": b"{}"}), r"adapter_config\.json has"),
    ],
    ids=["missing", "cut", "other", "small"],
)
def test_what_a_hub_does_not_hold_as_sent_is_not_published(
    catalog: Catalog, hub: Hub, spoil: Callable[[dict[str, bytes]], object], message: str
) -> None:
    publish_lora(catalog)
    repo = hub.create("ada/film")
    empty = repo.branches["main"]

    def interfere(method: str, path: str) -> None:
        if "/tree/" in path and repo.branches["main"] != empty:
            hub.before = None
            spoil(repo.commits[repo.branches["main"]])

    hub.before = interfere
    with pytest.raises(RemoteConflictError, match=message):
        push(catalog, hub, "film")
    assert repo.tags == {}
    assert push(catalog, hub, "film").new
    assert WEIGHTS in repo.files("v1")


def test_a_tag_whose_files_were_changed_is_no_version(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    repo = hub.repos["ada/film"]
    repo.files("v1")["README.md"] += b"by hand"
    assert not push(catalog, hub, "film").new, "a card is its owner's"
    repo.files("v1")[WEIGHTS] = b"x"
    with pytest.raises(RemoteConflictError, match="does not hold what was sent"):
        push(catalog, hub, "film")


def test_a_large_file_that_a_hub_says_it_has_is_asked_for(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film", "one")
    hub.refuse = {f"/{WEIGHTS}": 404}
    with pytest.raises(RemoteConflictError, match=f"said that it has the bytes of {WEIGHTS}"):
        push(catalog, hub, "film", "two")
    assert [*hub.repos] == ["ada/one"], "what was made for it is deleted again"
    hub.refuse = {}
    assert push(catalog, hub, "film", "two").new


@pytest.mark.parametrize("refused", [{"/commit/main": 507}, {"/tag/": 403}])
def test_a_repository_that_was_made_for_what_fails_is_deleted_again(
    catalog: Catalog, hub: Hub, refused: dict[str, int]
) -> None:
    publish_lora(catalog)
    hub.refuse = refused
    with pytest.raises(RemoteError):
        push(catalog, hub, "film")
    assert hub.repos == {}
    hub.create("ada/film")
    with pytest.raises(RemoteError):
        push(catalog, hub, "film")
    assert [*hub.repos] == ["ada/film"], "which was there before"


def test_what_others_put_there_in_the_meantime_is_not_deleted(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    hub.refuse = {"/tag/": 403}

    def interfere(method: str, path: str) -> None:
        if "/tag/" in path:
            repo = hub.repos["ada/film"]
            repo.commit("main", repo.files() | {"theirs": b"x"}, "in between")

    hub.before = interfere
    with pytest.raises(RemoteAccessError):
        push(catalog, hub, "film")
    assert hub.repos["ada/film"].files()["theirs"] == b"x"


def test_an_empty_repository_that_cannot_be_deleted_is_told(
    catalog: Catalog, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    publish_lora(catalog)
    hub.refuse = {"/commit/main": 507, "/repos/delete": 403}
    with pytest.raises(RemoteUnreachableError, match="failed with status 507"):
        push(catalog, hub, "film")
    assert f"{hub.url}/ada/film was made for this and is there still" in caplog.text


def test_a_tag_that_fails_after_its_commit_is_set_by_the_next(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    hub.create("ada/film")
    hub.refuse = {"/tag/": 507}
    with pytest.raises(RemoteUnreachableError, match="failed with status 507"):
        push(catalog, hub, "film")
    assert hub.repos["ada/film"].tags == {}
    assert commits(hub, "ada/film") == 2
    hub.refuse = {}
    assert push(catalog, hub, "film").new
    repo = hub.repos["ada/film"]
    assert commits(hub, "ada/film") == 2
    assert repo.tags == {"v1": repo.branches["main"]}


def test_so_it_is_for_an_older_version_that_is_published_late(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    publish_lora(catalog, which="b")
    push(catalog, hub, "film@2")
    hub.refuse = {"/tag/": 507}
    with pytest.raises(RemoteUnreachableError):
        push(catalog, hub, "film@1")
    hub.refuse = {}
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
        ("ada-reads", "ada/film", "The token that was sent has no right to write to it"),
        ("ada-writes", "bob/film", "The token that was sent has no right to write to it"),
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
    come_as(hub, "ada-writes")
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
    client = HfApi(endpoint=hub.url, token="ada-writes")
    client.create_repo("ada/film")
    client.upload_file(path_or_fileobj=b"mine", path_in_repo="train.py", repo_id="ada/film")
    before = dict(hub.repos["ada/film"].commits)
    with pytest.raises(ConflictError, match=r"holds train\.py, which hubkit did not put there"):
        push(catalog, hub, "film")
    assert hub.repos["ada/film"].commits == before


def test_files_that_others_added_stay(catalog: Catalog, hub: Hub, tmp_path: Path) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    client = HfApi(endpoint=hub.url, token="ada-writes")
    client.upload_file(path_or_fileobj=b"mine", path_in_repo="train.py", repo_id="ada/film")
    folder = copy(PEFT / "lora" / "a", tmp_path / "again")
    (folder / "notes.txt").write_text("another version")
    publish_folder(catalog, folder, AdapterRef.parse("film"), task="film")
    assert push(catalog, hub, "film").tag == "v2"
    assert hub.repos["ada/film"].files("v2")["train.py"] == b"mine"


def test_what_is_public_is_not_taken_for_private(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    HfApi(endpoint=hub.url, token="ada-writes").create_repo("ada/film")
    with pytest.raises(ConflictError, match="is there already, and public"):
        push(catalog, hub, "film", private=True)
    assert commits(hub, "ada/film") == 1
