"""Pulling from a hub, with the stock client, over HTTP."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi, constants

from hubkit.publishing import publish_folder
from hubkit.remote.address import RemoteAddress
from hubkit.remote.publish import publish_remote
from hubkit.remote.pull import pull_remote
from registry import AdapterRef, Catalog, Version
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
from registry.origins import pulled_from
from registry.search import search
from tests.support.foreign import BASE, BERT, PEFT
from tests.support.hub import Hub, git_sha1
from tests.support.models import base_folder
from tests.support.shelf import publish_fusion, publish_head, publish_lora

LORA = {path.name: path.read_bytes() for path in (PEFT / "lora" / "a").iterdir()}
WEIGHTS = "adapter_model.safetensors"


def push(catalog: Catalog, hub: Hub, ref: str) -> None:
    publish_remote(catalog, AdapterRef.parse(ref), RemoteAddress.parse(hub.url))


def pull(catalog: Catalog, hub: Hub, ref: str, **facts: object) -> Version:
    named = AdapterRef.parse(ref)
    address = RemoteAddress(hub.url, str(named.repository), named.alias)
    return pull_remote(catalog, address, number=named.version, **facts)  # type: ignore[arg-type]


def nothing_in(catalog: Catalog) -> bool:
    return search(catalog).items == () and not any(
        path.is_file() for path in (catalog.home / "blobs").rglob("*")
    )


def test_what_was_published_comes_back_byte_for_byte(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    there = publish_head(catalog)
    push(catalog, hub, "topic")
    here = pull(other_catalog, hub, "ada/topic")
    assert str(here.ref) == "ada/topic@1"
    assert here.manifest_digest == there.manifest_digest
    assert (here.author, here.size) == ("ada", there.size)
    one, other = catalog.folder(there), other_catalog.folder(here)
    files = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    assert files == {path.relative_to(other) for path in other.rglob("*") if path.is_file()}
    assert all((one / path).read_bytes() == (other / path).read_bytes() for path in files)
    assert pulled_from(other_catalog, here) == [f"{hub.url}/ada/topic@v1"]


def test_a_card_of_its_own_comes_back_to_the_byte(
    catalog: Catalog, other_catalog: Catalog, hub: Hub, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(PEFT / "lora" / "a", tmp_path / "a"))
    (folder / "README.md").write_text("# My own words\n")
    publish_folder(catalog, folder, AdapterRef.parse("film"), task="film")
    push(catalog, hub, "film")
    here = pull(other_catalog, hub, "ada/film")
    assert (other_catalog.folder(here) / "README.md").read_text() == "# My own words\n"


def test_again_changes_nothing(catalog: Catalog, other_catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    first = pull(other_catalog, hub, "ada/film")
    hub.requests.clear()
    assert pull(other_catalog, hub, "ada/film") == first
    assert len(other_catalog.versions(first.ref)) == 1
    assert not any(method == "GET" and "/resolve/" in path for _, method, path in hub.requests)


def test_versions_are_told_apart_by_number_tag_and_branch(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    for which in "ab":
        publish_lora(catalog, which=which)
        push(catalog, hub, "film")
    assert pull(other_catalog, hub, "ada/film@1").number == 1
    assert pull(other_catalog, hub, "ada/film").number == 2
    assert pull(other_catalog, hub, "ada/film@main").ref == AdapterRef("ada", "film", 2)
    named = pull(other_catalog, hub, "ada/film@1", name=AdapterRef.parse("mine"))
    assert str(named.ref) == "mine@1"
    with pytest.raises(RemoteNotFoundError, match="has no such revision"):
        pull(other_catalog, hub, "ada/film@7")


def test_what_a_fusion_is_made_of_comes_along(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_fusion(catalog)
    push(catalog, hub, "both")
    pull(other_catalog, hub, "ada/both")
    names = [str(version.ref) for version in search(other_catalog).items]
    assert names == ["ada/both@1", "ada/b@1", "ada/a@1"]


def test_a_parent_that_is_nowhere_is_named_and_nothing_registered(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_fusion(catalog)
    push(catalog, hub, "both")
    del hub.repos["ada/b"]
    with pytest.raises(ParentNotFoundError, match=r"ada/both is made of b@1 .*There is no repos"):
        pull(other_catalog, hub, "ada/both")
    assert nothing_in(other_catalog)


@pytest.mark.parametrize("lfs", [False, True])
def test_a_plain_peft_repository_is_registered_too(catalog: Catalog, hub: Hub, lfs: bool) -> None:
    card = b"---\nbase_model: tiny-bert\nlicense: mit\nlibrary_name: peft\n---\n# A card\n"
    repo = hub.create("bob/film", {**LORA, "README.md": card, "training_args.bin": b"code"})
    repo.lfs = {WEIGHTS} if lfs else set()
    here = pull(catalog, hub, "bob/film")
    assert (str(here.ref), here.method, here.license) == ("bob/film@1", "lora", "mit")
    assert (here.base_model, here.base_fingerprint) == ("tiny-bert", None)
    written = catalog.folder(here)
    assert {path.name for path in written.iterdir()} == {*LORA, "README.md", "hubkit.json"}
    assert (written / WEIGHTS).read_bytes() == LORA[WEIGHTS]
    assert pulled_from(catalog, here) == [f"{hub.url}/bob/film@{repo.branches['main']}"]
    assert not any("training_args" in path for _, _, path in hub.requests)


def test_the_tags_of_a_plain_repository_are_no_versions(catalog: Catalog, hub: Hub) -> None:
    repo = hub.create("bob/film", dict.fromkeys(LORA, b"old"))
    repo.tags["v7"] = repo.branches["main"]
    repo.commit("main", LORA, "new")
    here = pull(catalog, hub, "bob/film")
    assert here.number == 1
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]


def test_a_plain_adapterhub_repository_is_converted(catalog: Catalog, hub: Hub) -> None:
    folder = BERT / "seq_bn" / "a"
    hub.create("bob/film", {path.name: path.read_bytes() for path in folder.iterdir()})
    here = pull(catalog, hub, "bob/film", base=str(BASE))
    assert here.base_fingerprint is not None
    assert set(catalog.manifest(here).files) == {"adapter_config.json", "adapter.safetensors"}


def test_a_plain_repository_that_changed_is_the_next_version(catalog: Catalog, hub: Hub) -> None:
    repo = hub.create("bob/film", LORA)
    first = pull(catalog, hub, "bob/film")
    assert pull(catalog, hub, "bob/film") == first
    other = (PEFT / "lora" / "b" / WEIGHTS).read_bytes()
    repo.commit("main", repo.files() | {WEIGHTS: other}, "better")
    assert pull(catalog, hub, "bob/film").number == 2


def test_a_repository_that_is_no_adapter_is_refused_before_any_of_it_is_fetched(
    catalog: Catalog, hub: Hub
) -> None:
    hub.create("bob/model", {"config.json": b"{}", "model.safetensors": b"x"})
    with pytest.raises(FolderError, match=r"bob/model holds no adapter: .*may be a base model"):
        pull(catalog, hub, "bob/model")
    assert not any("/resolve/" in path for _, _, path in hub.requests)


def test_a_repository_with_an_unsound_adapter_is_refused(catalog: Catalog, hub: Hub) -> None:
    hub.create("bob/code", {**LORA, "README.md": b"\xff\xfe"})
    with pytest.raises(FolderError, match=rf"^{hub.url}/bob/code/README\.md is not UTF-8"):
        pull(catalog, hub, "bob/code")
    hub.create("bob/half", {WEIGHTS: LORA[WEIGHTS]})
    with pytest.raises(FolderError, match="not its configuration"):
        pull(catalog, hub, "bob/half")
    assert nothing_in(catalog)


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
        ({"private": True}, RemoteNotFoundError, "or it is private"),
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


def test_what_was_pulled_outlives_the_repository_and_the_hub(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.create("bob/film", LORA)
    here = pull(catalog, hub, "bob/film")
    hub.repos.clear()
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]
    with pytest.raises(RemoteNotFoundError):
        pull(catalog, hub, "bob/film")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert pull(catalog, hub, "bob/film") == here
    assert pull(catalog, hub, "bob/film@1") == here
    assert hub.requests == []


def test_offline_a_branch_is_not_taken_for_the_newest_version(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.create("bob/film", LORA)
    pull(catalog, hub, "bob/film")
    other = (PEFT / "lora" / "b" / WEIGHTS).read_bytes()
    repo.commit("next", repo.files() | {WEIGHTS: other}, "on another branch")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RemoteUnreachableError):
        pull(catalog, hub, "bob/film@next")


def test_offline_the_cache_of_the_client_is_enough(
    catalog: Catalog, other_catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    there = pull(other_catalog, hub, "ada/film")
    hub.create("bob/plain", LORA)
    pull(other_catalog, hub, "bob/plain")
    shutil.rmtree(other_catalog.home)
    other_catalog.home.mkdir()
    other_catalog.database.upgrade()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert pull(other_catalog, hub, "ada/film").manifest_digest == there.manifest_digest
    assert pull(other_catalog, hub, "bob/plain").number == 1
    with pytest.raises(RemoteUnreachableError, match="HF_HUB_OFFLINE"):
        pull(other_catalog, hub, "bob/never")


def test_what_the_stock_client_pushed_is_pulled(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    api = HfApi(endpoint=hub.url, token="ada-writes")
    api.create_repo("ada/film")
    api.upload_folder(repo_id="ada/film", folder_path=PEFT / "seq_cls" / "a")
    assert pull(catalog, hub, "ada/film").task_type == "text-classification"


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
    with pytest.raises(BaseModelMismatchError, match="ada/topic was trained on weights"):
        pull(other_catalog, hub, "ada/topic", base=other_base)
    assert nothing_in(other_catalog)
    assert pull(other_catalog, hub, "ada/topic", base=str(BASE)).number == 1
