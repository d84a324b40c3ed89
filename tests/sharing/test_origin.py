"""Bytes that were damaged here are fetched again from the hub that they came from."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from registry import Catalog, Version
from registry.errors import CorruptBlobError
from registry.maintenance.fsck import check_registry
from tests.support.foreign import BERT
from tests.support.hub import Hub
from tests.support.misbehaving import MisbehavingHub, about
from tests.support.roundtrip import LORA, WEIGHTS, pull, push
from tests.support.shelf import publish_head


def damage(catalog: Catalog, digest: str, content: bytes = b"wrong") -> Path:
    path = catalog.blobs.path(digest)
    path.chmod(0o600)
    path.write_bytes(content)
    return path


def digest_of(catalog: Catalog, version: Version, name: str) -> str:
    return catalog.manifest(version).files[name].sha256


@pytest.fixture
def pulled(catalog: Catalog, other_catalog: Catalog, hub: Hub) -> Version:
    """In the other catalog, with a card of its own."""
    publish_head(catalog)
    push(catalog, hub, "topic")
    return pull(other_catalog, hub, "ada/topic")


def test_every_file_and_the_manifest_of_a_version_come_back(
    other_catalog: Catalog, pulled: Version
) -> None:
    files = other_catalog.manifest(pulled).files
    paths = {
        damage(other_catalog, digest): digest
        for digest in [pulled.manifest_digest, *(info.sha256 for info in files.values())]
    }
    assert len(paths) == len(files) + 1
    other_catalog.folder(pulled)
    report = check_registry(other_catalog, full=True)
    assert [one.text for one in report.findings] == []


def test_a_check_mends_and_says_from_where(
    other_catalog: Catalog, hub: Hub, pulled: Version
) -> None:
    damage(other_catalog, digest_of(other_catalog, pulled, "model_head.safetensors"))
    (found,) = check_registry(other_catalog, full=True, repair=True).findings
    assert found.state == "repaired"
    assert found.text.startswith("ada/topic@1: model_head.safetensors: expected SHA-256 ")
    assert found.text.endswith(f"Fetched again from {hub.url}/ada/topic@v1.")
    assert check_registry(other_catalog, full=True).findings == ()


def test_a_repository_that_hubkit_never_saw_gives_its_files_back(
    catalog: Catalog, hub: Hub
) -> None:
    repo = hub.create("bob/film", LORA)
    version = pull(catalog, hub, "bob/film")
    repo.put({"new.txt": b"the branch moved on"}, removed=LORA)
    path = damage(catalog, digest_of(catalog, version, WEIGHTS))
    assert (catalog.folder(version) / WEIGHTS).read_bytes() == LORA[WEIGHTS]
    assert path.read_bytes() == LORA[WEIGHTS]


def test_weights_that_were_a_pickle_are_converted_again(catalog: Catalog, hub: Hub) -> None:
    folder = BERT / "seq_bn" / "a"
    hub.create("bob/old", {path.name: path.read_bytes() for path in folder.iterdir()})
    version = pull(catalog, hub, "bob/old")
    path = damage(catalog, digest_of(catalog, version, "adapter.safetensors"))
    catalog.folder(version)
    assert path.stat().st_size > len(b"wrong")


def test_a_manifest_that_was_written_here_comes_back_with_a_pull(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    hub = misbehaving_hub
    hub.know_no_versions()
    hub.create("bob/film", LORA)
    version = pull(catalog, hub, "bob/film")
    damage(catalog, version.manifest_digest, b"{}")
    with pytest.raises(CorruptBlobError, match=r"manifest was written here\. Pull it again"):
        catalog.manifest(version)
    assert pull(catalog, hub, "bob/film") == version
    assert check_registry(catalog, full=True).findings == ()


def test_what_was_changed_on_the_hub_is_not_taken(
    catalog: Catalog, other_catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    hub = misbehaving_hub
    publish_head(catalog)
    push(catalog, hub, "topic")
    version = pull(other_catalog, hub, "ada/topic")
    name = "model_head.safetensors"
    path = damage(other_catalog, digest_of(other_catalog, version, name))
    hub.lies = {"/tree/": about(name, lambda one: one | {"oid": "0" * 40, "lfs": None})}
    with pytest.raises(CorruptBlobError, match=f"It came from {hub.url}/ada/topic@v1, but: "):
        other_catalog.folder(version)
    assert not path.exists()


def test_a_repository_that_was_deleted_is_of_no_help(
    other_catalog: Catalog, hub: Hub, pulled: Version
) -> None:
    damage(other_catalog, digest_of(other_catalog, pulled, "model_head.safetensors"))
    hub.repos["ada/topic"].delete()
    message = r"It came from .*/ada/topic@v1, but: .*There is no repository"
    with pytest.raises(CorruptBlobError, match=message):
        other_catalog.folder(pulled)


def test_a_hub_that_fails_is_of_no_help(catalog: Catalog, misbehaving_hub: MisbehavingHub) -> None:
    misbehaving_hub.create("bob/film", LORA)
    version = pull(catalog, misbehaving_hub, "bob/film")
    damage(catalog, digest_of(catalog, version, WEIGHTS))
    misbehaving_hub.refusals = {"bob": 503}
    with pytest.raises(
        CorruptBlobError, match=r"It came from .*/bob/film@.*failed with status 503"
    ):
        catalog.folder(version)


def test_offline_the_cache_of_the_client_is_an_origin(
    other_catalog: Catalog, hub: Hub, pulled: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(other_catalog, digest_of(other_catalog, pulled, "model_head.safetensors"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    other_catalog.folder(pulled)
    assert hub.requests == []
