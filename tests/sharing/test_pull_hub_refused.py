"""What a pull refuses, and what it goes on with."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from hubkit.hub.tokens import FILE_NAME
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
from registry.refs import DELETED
from tests.support.foreign import BASE, PEFT
from tests.support.hub import Asked, Hub
from tests.support.misbehaving import MisbehavingHub
from tests.support.models import base_folder
from tests.support.roundtrip import LORA, WEIGHTS, come_as, nothing_in, pull, push
from tests.support.shelf import publish_fusion, publish_head, publish_lora
from tests.support.trees import info_of


def test_a_parent_that_is_nowhere_is_named_and_nothing_registered(
    catalog: Catalog, other_catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    hub = misbehaving_hub
    publish_fusion(catalog)
    push(catalog, hub, "both")
    hub.repos["ada/b"].delete()
    hub.refusals = {f"/{DELETED}/": (404, "RepoNotFound")}  # where the hub keeps it for its child
    with pytest.raises(ParentNotFoundError, match=r"ada/both is made of b@1 .*There is no repos"):
        pull(other_catalog, hub, "ada/both")
    assert nothing_in(other_catalog)


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("lfs", [False, True])
def test_a_file_that_is_not_what_its_hash_says_is_refused(
    catalog: Catalog,
    misbehaving_hub: MisbehavingHub,
    lfs: bool,
    links: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SYMLINKS", not links)
    hub = misbehaving_hub
    hub.create("bob/film").put(LORA, large=None if lfs else False)
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
    blob = next(Path(constants.HF_HOME).rglob(info_of(LORA[WEIGHTS]).sha256))
    blob.write_bytes(bytes(len(LORA[WEIGHTS])))
    assert pull(catalog, hub, "bob/film").number == 1
    assert blob.read_bytes() == LORA[WEIGHTS]


def test_a_repository_that_was_changed_by_hand_is_refused(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    repo = hub.repos["ada/film"]
    repo.put({WEIGHTS: bytes(len(LORA[WEIGHTS]))})
    with pytest.raises(
        CorruptBlobError, match=f"{WEIGHTS}: hubkit.json says .* was changed by hand"
    ):
        pull(other_catalog, hub, "ada/film@main")
    repo.put({}, removed=[WEIGHTS])
    with pytest.raises(FolderError, match=f"lacks {WEIGHTS}, which its hubkit.json lists"):
        pull(other_catalog, hub, "ada/film@main")
    assert nothing_in(other_catalog)
    assert pull(other_catalog, hub, "ada/film").number == 1, "a version stays what it is"


def test_a_connection_that_stops_half_way_is_gone_on_with(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    misbehaving_hub.create("bob/film", LORA)
    misbehaving_hub.cut = {WEIGHTS: 1}
    assert pull(catalog, misbehaving_hub, "bob/film").number == 1
    assert misbehaving_hub.cut == {WEIGHTS: 0}


def test_a_connection_that_keeps_stopping_registers_nothing(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    hub = misbehaving_hub
    hub.create("bob/film", LORA)
    hub.cut = {WEIGHTS: 100}
    with pytest.raises(RemoteUnreachableError, match="run it again"):
        pull(catalog, hub, "bob/film")
    assert nothing_in(catalog)
    hub.cut = {}
    assert pull(catalog, hub, "bob/film").number == 1


def test_a_repository_that_changes_in_between_is_taken_as_one_commit(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    repo = misbehaving_hub.create("bob/film", LORA)
    other = {path.name: path.read_bytes() for path in (PEFT / "seq_cls" / "a").iterdir()}

    def interfere(asked: Asked) -> None:
        if WEIGHTS in asked.path:
            repo.put(other)

    misbehaving_hub.before = interfere
    here = pull(catalog, misbehaving_hub, "bob/film")
    assert len(repo.commits) == 3
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]
    assert catalog.manifest(here).labels == ()


@pytest.mark.parametrize("private", [True, False])
def test_what_may_not_be_read_is_told_as_what_is_not_there(
    catalog: Catalog, hub: Hub, private: bool
) -> None:
    if private:
        hub.create("bob/film", LORA, private=True)
    message = "There is no repository .*, or it is private and the token that was sent does not"
    with pytest.raises(RemoteNotFoundError, match=message):
        pull(catalog, hub, "bob/film")
    (Path(constants.HF_HOME) / FILE_NAME).unlink()
    with pytest.raises(RemoteNotFoundError, match="was asked for without a token"):
        pull(catalog, hub, "bob/film")
    assert nothing_in(catalog)


@pytest.mark.parametrize("owner", ["nobody", "a-team"])
def test_an_owner_that_the_hub_does_not_have_is_told(
    catalog: Catalog, hub: Hub, owner: str
) -> None:
    with pytest.raises(RemoteNotFoundError, match=f"There is no repository {hub.url}/{owner}/film"):
        pull(catalog, hub, f"{owner}/film")
    assert len(hub.requests) == 1, "to ask again would change nothing"


def test_what_is_gated_is_told(catalog: Catalog, misbehaving_hub: MisbehavingHub) -> None:
    misbehaving_hub.create("bob/film", LORA)
    misbehaving_hub.refusals = {WEIGHTS: (403, "GatedRepo")}
    with pytest.raises(RemoteAccessError, match="is gated: its owner decides"):
        pull(catalog, misbehaving_hub, "bob/film")
    assert nothing_in(catalog)


@pytest.mark.parametrize("who", ["ada", "ada reads"])
def test_ones_own_private_repositories_are_pulled(catalog: Catalog, hub: Hub, who: str) -> None:
    hub.create("ada/film", LORA, private=True)
    come_as(hub, who)
    assert pull(catalog, hub, "ada/film").number == 1


def test_a_token_that_the_hub_does_not_know_opens_nothing(catalog: Catalog, hub: Hub) -> None:
    hub.create("ada/film", LORA)
    come_as(hub, "unknown")
    with pytest.raises(
        RemoteAccessError, match="does not know the token that was sent: status 401"
    ):
        pull(catalog, hub, "ada/film")
    assert nothing_in(catalog)


def test_a_name_that_was_given_up_is_not_followed(catalog: Catalog, hub: Hub) -> None:
    hub.create("bob/old", LORA).move("bob/new")
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
    ],
)
def test_a_repository_that_vanishes_between_two_requests_is_told(
    catalog: Catalog,
    misbehaving_hub: MisbehavingHub,
    what: str,
    error: type[HubkitError],
    message: str,
) -> None:
    hub = misbehaving_hub
    repo = hub.create("bob/film", LORA)

    def interfere(asked: Asked) -> None:
        if WEIGHTS in asked.path and what == "gated":
            hub.refusals = {WEIGHTS: (403, "GatedRepo")}
        elif WEIGHTS in asked.path:
            repo.delete()

    hub.before = interfere
    with pytest.raises(error, match=message):
        pull(catalog, hub, "bob/film")
    assert nothing_in(catalog)


def test_a_repository_that_moves_between_two_requests_is_pulled_under_its_name_of_before(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    repo = misbehaving_hub.create("bob/film", LORA)

    def interfere(asked: Asked) -> None:
        if "/bob/film/" in asked.path and asked.path.endswith(WEIGHTS):
            repo.move("bob/new")

    misbehaving_hub.before = interfere
    here = pull(catalog, misbehaving_hub, "bob/film")
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]
    assert misbehaving_hub.repos.keys() == {"bob/new"}


def ranges(hub: Hub) -> list[str]:
    """What parts of the weights were asked for."""
    asked = [one for one in hub.requests if one.path.endswith(WEIGHTS)]
    return [one.headers["range"] for one in asked if "range" in one.headers]


def test_a_file_that_arrived_in_part_is_gone_on_with_where_it_stopped(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    misbehaving_hub.create("bob/film", LORA)
    misbehaving_hub.cut = {WEIGHTS: 1}
    here = pull(catalog, misbehaving_hub, "bob/film")
    assert ranges(misbehaving_hub) == [f"bytes={len(LORA[WEIGHTS]) // 2}-"]
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]


def test_parts_that_do_not_belong_together_are_noticed(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    hub = misbehaving_hub
    hub.create("bob/film", LORA)
    hub.cut, hub.corrupt = {WEIGHTS: 1}, {WEIGHTS}

    def recover(asked: Asked) -> None:
        if asked.path.endswith(WEIGHTS) and not hub.cut[WEIGHTS]:
            hub.corrupt = set()

    hub.before = recover
    here = pull(catalog, hub, "bob/film")
    assert ranges(hub) == [f"bytes={len(LORA[WEIGHTS]) // 2}-"]
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]


def test_what_arrived_whole_is_not_fetched_twice(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    hub = misbehaving_hub
    hub.create("bob/film", LORA)
    hub.cut = {WEIGHTS: 100}
    with pytest.raises(RemoteUnreachableError, match="run it again to resume"):
        pull(catalog, hub, "bob/film")
    hub.cut = {}
    hub.requests.clear()
    pull(catalog, hub, "bob/film")
    fetched = {path.rpartition("/")[2] for path in hub.paths("GET", "/versions/")}
    assert fetched == {"hubkit.json", WEIGHTS}
