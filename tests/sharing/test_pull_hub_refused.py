"""What a pull refuses, and what it goes on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from registry import Catalog
from registry.errors import (
    BaseModelMismatchError,
    ConflictError,
    CorruptBlobError,
    FolderError,
    HubkitError,
    ParentNotFoundError,
    RemoteAccessError,
    RemoteNotFoundError,
    RemoteUnreachableError,
)
from tests.support.foreign import BASE, PEFT
from tests.support.hub import Hub
from tests.support.models import base_folder
from tests.support.repos import git_sha1
from tests.support.roundtrip import LORA, WEIGHTS, nothing_in, pull, push
from tests.support.shelf import publish_fusion, publish_head, publish_lora


def test_a_parent_that_is_nowhere_is_named_and_nothing_registered(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_fusion(catalog)
    push(catalog, hub, "both")
    del hub.repos["ada/b"]
    with pytest.raises(ParentNotFoundError, match=r"ada/both is made of b@1 .*There is no repos"):
        pull(other_catalog, hub, "ada/both")
    assert nothing_in(other_catalog)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("lfs", [False, True])
def test_a_file_that_is_not_what_its_hash_says_is_refused(
    catalog: Catalog, hub: Hub, lfs: bool, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    repo = hub.create("bob/film", LORA)
    repo.lfs = {WEIGHTS} if lfs else set()
    hub.corrupt = {WEIGHTS}
    with pytest.raises(CorruptBlobError, match=f"{WEIGHTS} is not the file that its hash promises"):
        pull(catalog, hub, "bob/film")
    assert nothing_in(catalog)
    hub.corrupt = set()
    assert pull(catalog, hub, "bob/film").number == 1


def test_a_damaged_file_in_the_cache_of_the_client_is_fetched_again(
    catalog: Catalog, hub: Hub
) -> None:
    hub.create("bob/film", LORA)
    pull(catalog, hub, "bob/film")
    blob = next(Path(constants.HF_HOME).rglob(git_sha1(LORA[WEIGHTS])))
    blob.write_bytes(bytes(len(LORA[WEIGHTS])))
    assert pull(catalog, hub, "bob/film").number == 1
    assert blob.read_bytes() == LORA[WEIGHTS]


def test_a_repository_that_was_changed_by_hand_is_refused(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    repo = hub.repos["ada/film"]
    changed = bytes(len(LORA[WEIGHTS]))
    repo.tags["v1"] = repo.commit("main", repo.files() | {WEIGHTS: changed}, "by hand")
    with pytest.raises(CorruptBlobError, match=f"{WEIGHTS}: hubkit.json says .* changed the repos"):
        pull(other_catalog, hub, "ada/film")
    files = {name: content for name, content in repo.files().items() if name != WEIGHTS}
    repo.tags["v1"] = repo.commit("main", files, "gone")
    with pytest.raises(FolderError, match=f"lacks {WEIGHTS}, which its hubkit.json lists"):
        pull(other_catalog, hub, "ada/film")
    assert nothing_in(other_catalog)


def test_a_connection_that_stops_half_way_is_gone_on_with(catalog: Catalog, hub: Hub) -> None:
    hub.create("bob/film", LORA)
    hub.cut = {WEIGHTS: 1}
    assert pull(catalog, hub, "bob/film").number == 1
    assert hub.cut == {WEIGHTS: 0}


def test_a_connection_that_keeps_stopping_registers_nothing(catalog: Catalog, hub: Hub) -> None:
    hub.create("bob/film", LORA)
    hub.cut = {WEIGHTS: 100}
    with pytest.raises(RemoteUnreachableError, match="run it again"):
        pull(catalog, hub, "bob/film")
    assert nothing_in(catalog)
    hub.cut = {}
    assert pull(catalog, hub, "bob/film").number == 1


def test_a_repository_that_changes_in_between_is_taken_as_one_commit(
    catalog: Catalog, hub: Hub
) -> None:
    repo = hub.create("bob/film", LORA)
    other = {path.name: path.read_bytes() for path in (PEFT / "seq_cls" / "a").iterdir()}

    def interfere(method: str, path: str) -> None:
        if "/resolve/" in path and repo.files() != other:
            repo.commit("main", other, "in between")

    hub.before = interfere
    here = pull(catalog, hub, "bob/film")
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]
    assert catalog.manifest(here).labels == ()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"gated": True}, RemoteAccessError, "is gated: its owner decides"),
        ({"private": True}, RemoteNotFoundError, "or it is private and the token that was sent"),
        (None, RemoteNotFoundError, "There is no repository"),
    ],
)
def test_what_may_not_be_read_is_told(
    catalog: Catalog,
    hub: Hub,
    settings: dict[str, bool] | None,
    error: type[HubkitError],
    message: str,
) -> None:
    if settings is not None:
        hub.create("bob/film", LORA, **settings)
    with pytest.raises(error, match=message):
        pull(catalog, hub, "bob/film")
    assert nothing_in(catalog)


def test_ones_own_private_and_gated_repositories_are_pulled(catalog: Catalog, hub: Hub) -> None:
    hub.create("ada/film", LORA, private=True, gated=True)
    assert pull(catalog, hub, "ada/film").number == 1


def test_a_name_that_was_given_up_is_not_followed(catalog: Catalog, hub: Hub) -> None:
    hub.create("bob/new", LORA)
    hub.moved = {"bob/old": "bob/new"}
    with pytest.raises(RemoteNotFoundError, match="bob/old is called bob/new now"):
        pull(catalog, hub, "bob/old")
    assert nothing_in(catalog)


def test_a_number_with_other_content_here_is_a_conflict(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    publish_lora(other_catalog, "ada/film", which="b")
    with pytest.raises(ConflictError, match="ada/film@1 already exists with other content"):
        pull(other_catalog, hub, "ada/film")


def test_the_base_model_is_checked_before_anything_is_registered(
    catalog: Catalog, other_catalog: Catalog, hub: Hub, tmp_path: Path
) -> None:
    publish_head(catalog)
    push(catalog, hub, "topic")
    other_base = str(base_folder(tmp_path / "other"))
    with pytest.raises(BaseModelMismatchError, match=r"ada/topic was .* differs in the weights"):
        pull(other_catalog, hub, "ada/topic", base=other_base)
    assert nothing_in(other_catalog)
    assert pull(other_catalog, hub, "ada/topic", base=str(BASE)).number == 1


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("deleted", RemoteNotFoundError, "There is no repository"),
        ("gated", RemoteAccessError, "is gated"),
        ("moved", RemoteNotFoundError, "There is no repository"),
    ],
)
def test_a_repository_that_vanishes_between_two_requests_is_told(
    catalog: Catalog, hub: Hub, what: str, error: type[HubkitError], message: str
) -> None:
    hub.create("bob/film", LORA)

    def interfere(method: str, path: str) -> None:
        if "/resolve/" not in path:
            return
        if what == "gated":
            hub.repos["bob/film"].gated = True
        elif "bob/film" in hub.repos:
            gone = hub.repos.pop("bob/film")
            if what == "moved":
                hub.moved["bob/film"] = "bob/new"
                hub.repos["bob/new"] = gone

    hub.before = interfere
    with pytest.raises(error, match=message):
        pull(catalog, hub, "bob/film")
    assert nothing_in(catalog)


def test_a_file_that_arrived_in_part_is_gone_on_with_where_it_stopped(
    catalog: Catalog, hub: Hub
) -> None:
    hub.create("bob/film", LORA)
    hub.cut = {WEIGHTS: 1}
    here = pull(catalog, hub, "bob/film")
    assert hub.ranges == {WEIGHTS: [len(LORA[WEIGHTS]) // 2]}
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]


def test_parts_that_do_not_belong_together_are_noticed(catalog: Catalog, hub: Hub) -> None:
    hub.create("bob/film", LORA)
    hub.cut, hub.corrupt = {WEIGHTS: 1}, {WEIGHTS}

    def recover(method: str, path: str) -> None:
        if path.endswith(WEIGHTS) and not hub.cut[WEIGHTS]:
            hub.corrupt = set()

    hub.before = recover
    here = pull(catalog, hub, "bob/film")
    assert hub.ranges == {WEIGHTS: [len(LORA[WEIGHTS]) // 2]}
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]


def test_what_arrived_whole_is_not_fetched_twice(catalog: Catalog, hub: Hub) -> None:
    hub.create("bob/film", LORA)
    hub.cut = {WEIGHTS: 100}
    with pytest.raises(RemoteUnreachableError, match="run it again to go on"):
        pull(catalog, hub, "bob/film")
    hub.cut, hub.requests = {}, []
    pull(catalog, hub, "bob/film")
    fetched = {path for _, method, path in hub.requests if method == "GET" and "/resolve/" in path}
    assert {path.rpartition("/")[2] for path in fetched} == {WEIGHTS}
