"""Publishing to a hub, with the stock client, over HTTP."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hubkit.composing.combine import publish_stack
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog, Manifest, Version
from registry.folders import read_tree
from registry.folders.card import parse_card
from registry.folders.claims import claims_of
from registry.folders.hubkit import OWN_CARD
from registry.storage.folder_blobs import FolderBlobStore
from tests.support.foreign import BERT, PEFT, copy
from tests.support.hub import Hub
from tests.support.measurements import measurement
from tests.support.roundtrip import come_as, pull, push
from tests.support.shelf import BASE_ID, publish_fusion, publish_head, publish_lora, publish_on_base
from tests.support.trees import stored


def commits(hub: Hub, name: str) -> int:
    return len(hub.repos[name].commits)


def test_a_version_becomes_a_repository_with_one_commit_and_a_tag(
    catalog: Catalog, hub: Hub
) -> None:
    version = publish_lora(catalog)
    pushed = push(catalog, hub, "film")
    assert (pushed.repository, pushed.tag, pushed.new) == ("ada/film", "v1", True)
    assert pushed.url == f"{hub.url}/ada/film/tree/v1"
    repo = hub.repos["ada/film"]
    assert commits(hub, "ada/film") == 2, "the one that a hub makes, and ours"
    assert repo.tags == {"v1": repo.branches["main"]}
    files = repo.files("v1")
    for path in (PEFT / "lora" / "a").iterdir():
        assert files[path.name] == path.read_bytes()
    manifest = Manifest.from_json(files["hubkit.json"], "hubkit.json")
    assert manifest.digest == version.manifest_digest
    assert files.keys() == {".gitattributes", "README.md", "hubkit.json", *manifest.files}


def test_again_changes_nothing(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film")
    before = hub.repos["ada/film"].commits
    hub.requests.clear()
    assert push(catalog, hub, "film@1").new is False
    assert hub.repos["ada/film"].commits == before
    assert {asked.method for asked in hub.requests} <= {"GET", "HEAD"}


def test_the_next_version_replaces_the_files_and_keeps_the_old_tag(
    catalog: Catalog, hub: Hub, tmp_path: Path
) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    (folder / "notes.txt").write_text("once")
    publish_folder(catalog, folder, AdapterRef.parse("film"), task="film")
    push(catalog, hub, "film")
    publish_lora(catalog, which="b")
    push(catalog, hub, "film")
    repo = hub.repos["ada/film"]
    assert set(repo.tags) == {"v1", "v2"}
    assert repo.branches["main"] == repo.tags["v2"]
    assert "notes.txt" in repo.files("v1")
    assert "notes.txt" not in repo.files("v2")
    expected = (PEFT / "lora" / "b" / "adapter_model.safetensors").read_bytes()
    assert repo.files()["adapter_model.safetensors"] == expected


def test_an_older_version_published_late_does_not_become_the_newest(
    catalog: Catalog, hub: Hub
) -> None:
    publish_lora(catalog)
    publish_lora(catalog, which="b")
    push(catalog, hub, "film@2")
    push(catalog, hub, "film@1")
    repo = hub.repos["ada/film"]
    assert repo.branches == {"main": repo.tags["v2"]}
    for tag, which in (("v1", "a"), ("v2", "b")):
        expected = (PEFT / "lora" / which / "adapter_model.safetensors").read_bytes()
        assert repo.files(tag)["adapter_model.safetensors"] == expected


def test_what_a_fusion_is_made_of_goes_first(catalog: Catalog, hub: Hub) -> None:
    publish_fusion(catalog)
    push(catalog, hub, "both", "ada/fused")
    assert [path.split("/")[3:5] for path in hub.paths("POST", "/tag/")] == [
        ["ada", "a"],
        ["ada", "b"],
        ["ada", "fused"],
    ]
    card = hub.repos["ada/fused"].files()["README.md"].decode()
    assert "## Made of" in card
    assert "[ada/a](/ada/a) v1" in card
    assert f"--from {hub.url}\n" in card


def test_a_parent_of_someone_else_is_left_with_them_if_it_is_there(
    catalog: Catalog, hub: Hub
) -> None:
    publish_head(catalog, "bob/x")
    publish_on_base(catalog, BERT / "seq_bn" / "b", "y", task="film")
    parts = [AdapterRef.parse("bob/x"), AdapterRef.parse("y")]
    publish_stack(catalog, AdapterRef.parse("z"), parts)
    come_as(hub, "bob")
    push(catalog, hub, "bob/x")
    come_as(hub, "ada")
    push(catalog, hub, "z")
    assert sorted(hub.repos) == ["ada/y", "ada/z", "bob/x"]


def test_a_parent_of_someone_else_that_is_not_there_is_published_too_and_that_is_said(
    catalog: Catalog, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    publish_head(catalog, "bob/x")
    publish_on_base(catalog, BERT / "seq_bn" / "b", "y", task="film")
    parts = [AdapterRef.parse("bob/x"), AdapterRef.parse("y")]
    publish_stack(catalog, AdapterRef.parse("z"), parts)
    push(catalog, hub, "z")
    assert sorted(hub.repos) == ["ada/x", "ada/y", "ada/z"]
    (told,) = [one for one in caplog.messages if "also" in one]
    assert told.startswith("bob/x@1 was also published as ada/x: under its own name, ")
    caplog.clear()
    push(catalog, hub, "z")
    assert caplog.messages == []


def test_a_private_repository_is_made_private(catalog: Catalog, hub: Hub) -> None:
    publish_lora(catalog)
    push(catalog, hub, "film", private=True)
    assert hub.repos["ada/film"].private


def test_the_card_says_what_the_filters_of_a_hub_know(catalog: Catalog, hub: Hub) -> None:
    publish_head(catalog)
    push(catalog, hub, "topic")
    card = parse_card(hub.repos["ada/topic"].files()["README.md"].decode(), Path("README.md"))
    assert card.license == "mit"
    assert card.task_type == "text-classification"
    assert {"adapter", "topic", "seq_bn"} <= set(card.tags)
    assert card.data["library_name"] == "adapter-transformers"
    assert card.data["base_model"] == BASE_ID
    info = HfApi(endpoint=hub.url, token=hub.tokens["ada"]).model_info("ada/topic")
    assert info.pipeline_tag == "text-classification"


def test_a_card_of_its_own_is_kept_to_the_byte_and_its_text_shown(
    catalog: Catalog, hub: Hub, tmp_path: Path
) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    own = "---\nlicense: mit\ncustom: kept\ntags: [mine]\n---\n\n# My own words\n"
    (folder / "README.md").write_text(own)
    publish_folder(catalog, folder, AdapterRef.parse("film"), task="film")
    push(catalog, hub, "film")
    files = hub.repos["ada/film"].files()
    assert files[OWN_CARD].decode() == own
    card = parse_card(files["README.md"].decode(), Path("README.md"))
    assert card.text.startswith("# My own words")
    assert (card.license, card.data["custom"], card.data["base_model"]) == (
        "mit",
        "kept",
        "tiny-bert",
    )
    assert card.tags[0] == "mine"


def test_what_a_hub_holds_of_a_version_is_read_as_that_version(
    catalog: Catalog, hub: Hub, tmp_path: Path
) -> None:
    version = publish_head(catalog)
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    (folder / "README.md").write_text("# My own words\n")
    lora = publish_folder(catalog, folder, AdapterRef.parse("film"), task="film")
    catalog.record(lora.ref, [measurement(dataset="ada/films", value=0.25)])
    push(catalog, hub, "topic")
    push(catalog, hub, "film")
    assert ".eval_results/hubkit.yaml" in hub.repos["ada/film"].files()
    blobs = FolderBlobStore(tmp_path / "hub")
    for name, published in (("ada/topic", version), ("ada/film", lora)):
        read = read_tree(blobs, stored(blobs, hub.repos[name].files()), name)
        assert read.manifest.digest == published.manifest_digest


def test_the_manifest_lists_what_is_there(catalog: Catalog, hub: Hub) -> None:
    version: Version = publish_head(catalog)
    push(catalog, hub, "topic")
    files = hub.repos["ada/topic"].files()
    listed = json.loads(files["hubkit.json"])["files"]
    assert {name: one["sha256"] for name, one in listed.items()} == {
        name: hashlib.sha256(files[name]).hexdigest() for name in listed
    }
    assert version.size == sum(len(files[name]) for name in listed)


def test_what_was_recorded_goes_along_and_what_is_pulled_has_the_same_digest(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    version = publish_lora(catalog)
    catalog.record(version.ref, [measurement(dataset="ada/films", value=0.25)])
    push(catalog, hub, "film")
    files = hub.repos["ada/film"].files("v1")
    card = parse_card(files["README.md"].decode(), Path("README.md"))
    assert [(one.metric, one.value, one.split) for one in claims_of(card.data)] == [
        ("accuracy", 0.25, "test")
    ]
    assert b"id: ada/films" in files[".eval_results/hubkit.yaml"]
    pulled = pull(other_catalog, hub, "ada/film")
    assert pulled.manifest_digest == version.manifest_digest
    assert other_catalog.measurements([pulled]) == {}, "what a hub says was not measured here"
