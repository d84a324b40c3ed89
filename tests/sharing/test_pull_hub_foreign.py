"""Pulling repositories that hubkit never saw."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from hubkit.hub.address import Hub as Address
from hubkit.hub.address import Repository
from hubkit.sharing.pull_hub import pull_remote
from registry import AdapterRef, Catalog
from registry.errors import (
    FolderError,
    HeadLabelsError,
    ParentNotFoundError,
    RemoteNotFoundError,
)
from registry.folders.kinds import HEAD as PART
from tests.support.foreign import BASE, BERT, HEAD, PEFT
from tests.support.hub import Hub
from tests.support.misbehaving import MisbehavingHub
from tests.support.roundtrip import LORA, WEIGHTS, nothing_in, pull


@pytest.fixture
def hub(misbehaving_hub: MisbehavingHub) -> Hub:
    """One that keeps files and knows no versions."""
    misbehaving_hub.know_no_versions()
    return misbehaving_hub


@pytest.mark.parametrize("lfs", [False, True])
def test_a_plain_peft_repository_is_registered_too(catalog: Catalog, hub: Hub, lfs: bool) -> None:
    card = b"---\nbase_model: tiny-bert\nlicense: mit\nlibrary_name: peft\n---\n# A card\n"
    repo = hub.create("bob/film")
    files = {**LORA, "README.md": card, "training_args.bin": b"code"}
    repo.put(files, large=None if lfs else False)
    here = pull(catalog, hub, "bob/film")
    assert (str(here.ref), here.method, here.license) == ("bob/film@1", "lora", "mit")
    assert (here.base_model, here.base_fingerprint) == ("tiny-bert", None)
    written = catalog.folder(here)
    assert {path.name for path in written.iterdir()} == {*LORA, "README.md", "hubkit.json"}
    assert (written / WEIGHTS).read_bytes() == LORA[WEIGHTS]
    assert catalog.origins(here) == [f"{hub.url}/bob/film@{repo.branches['main']}"]
    assert hub.paths("GET", "training_args") == []


def test_a_plain_adapterhub_repository_is_converted(catalog: Catalog, hub: Hub) -> None:
    folder = BERT / "seq_bn" / "a"
    hub.create("bob/film", {path.name: path.read_bytes() for path in folder.iterdir()})
    here = pull(catalog, hub, "bob/film", base=str(BASE))
    assert here.base_fingerprint is not None
    assert set(catalog.manifest(here).files) == {"adapter_config.json", "adapter.safetensors"}


# The stock client uses httpx2 in a way that it deprecates.
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
def test_what_the_stock_client_pushed_is_pulled(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    api = HfApi(endpoint=hub.url, token=hub.tokens["ada"])
    api.create_repo("ada/film")
    api.upload_folder(repo_id="ada/film", folder_path=PEFT / "seq_cls" / "a")
    assert pull(catalog, hub, "ada/film").task_type == "text-classification"


def test_the_tags_of_a_plain_repository_are_no_versions(catalog: Catalog, hub: Hub) -> None:
    repo = hub.create("bob/film", dict.fromkeys(LORA, b"old"))
    repo.tag("v7")
    repo.put(LORA)
    here = pull(catalog, hub, "bob/film")
    assert here.number == 1
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == LORA[WEIGHTS]


def test_a_plain_repository_that_changed_is_the_next_version(catalog: Catalog, hub: Hub) -> None:
    repo = hub.create("bob/film", LORA)
    first = pull(catalog, hub, "bob/film")
    assert pull(catalog, hub, "bob/film") == first
    other = (PEFT / "lora" / "b" / WEIGHTS).read_bytes()
    repo.put({WEIGHTS: other})
    assert pull(catalog, hub, "bob/film").number == 2


def test_a_repository_that_is_no_adapter_is_refused_before_any_of_it_is_fetched(
    catalog: Catalog, hub: Hub
) -> None:
    hub.create("bob/model", {"config.json": b"{}", "model.safetensors": b"x"})
    with pytest.raises(FolderError, match=r"bob/model holds no adapter: .*may be a base model"):
        pull(catalog, hub, "bob/model")
    assert hub.paths("GET", "/resolve/") == []


def test_a_repository_with_an_unsound_adapter_is_refused(catalog: Catalog, hub: Hub) -> None:
    hub.create("bob/code", {**LORA, "README.md": b"\xff\xfe"})
    with pytest.raises(FolderError, match=rf"^{hub.url}/bob/code/README\.md is not UTF-8"):
        pull(catalog, hub, "bob/code")
    hub.create("bob/half", {WEIGHTS: LORA[WEIGHTS]})
    with pytest.raises(FolderError, match="not its configuration"):
        pull(catalog, hub, "bob/half")
    assert nothing_in(catalog)


@pytest.mark.parametrize("first", [None, str(BASE)])
def test_the_same_commit_is_the_same_version_with_and_without_base(
    catalog: Catalog, hub: Hub, first: str | None
) -> None:
    repo = hub.create("bob/film", LORA)
    here = pull(catalog, hub, "bob/film", base=first)
    for base in (str(BASE), None, str(BASE)):
        assert pull(catalog, hub, "bob/film", base=base) == here
    there = Repository(Address(hub.url), "bob/film", repo.branches["main"])
    assert pull_remote(catalog, there, base=str(BASE)) == here
    named = pull(catalog, hub, "bob/film", base=str(BASE), name=AdapterRef.parse("mine"))
    assert str(named.ref) == "mine@1"
    assert len(catalog.versions(here.ref)) == 1


def test_a_tag_of_a_plain_repository_is_a_revision_and_gives_no_number(
    catalog: Catalog, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = hub.create("bob/film", LORA)
    repo.tag("v7")
    assert pull(catalog, hub, "bob/film@v7").number == 1
    with pytest.raises(RemoteNotFoundError, match=r"not made by hubkit.*pull .*/bob/film/tree/v7"):
        pull(catalog, hub, "bob/film@7")
    other = (PEFT / "lora" / "b" / WEIGHTS).read_bytes()
    repo.put({WEIGHTS: other})
    assert pull(catalog, hub, "bob/film").number == 2
    shutil.rmtree(catalog.home)
    catalog.home.mkdir()
    catalog.database.close()
    catalog.database.upgrade()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    here = pull(catalog, hub, "bob/film")
    assert (catalog.folder(here) / WEIGHTS).read_bytes() == other, "main, not v7"


def test_a_fusion_says_which_adapters_to_pull_first(catalog: Catalog, hub: Hub) -> None:
    folder = BERT / "seq_bn"
    for name, source in (("bob/both", "fusion_ab_static"), ("eve/x", "a"), ("eve/y", "b")):
        files = (folder / source).iterdir()
        hub.create(name, {path.name: path.read_bytes() for path in files if path.is_file()})
    with pytest.raises(ParentNotFoundError, match="fusion of the adapters a, b, which") as caught:
        pull(catalog, hub, "bob/both", base=str(BASE))
    assert "Pull or publish each of them under these names first" in str(caught.value)
    assert nothing_in(catalog)
    for name, ref in (("eve/x", "a"), ("eve/y", "b")):
        pull(catalog, hub, name, base=str(BASE), name=AdapterRef.parse(ref))
    here = pull(catalog, hub, "bob/both", base=str(BASE))
    assert [parent.ref for parent in catalog.manifest(here).parents] == ["a@1", "b@1"]


def test_a_head_comes_with_its_labels(catalog: Catalog, hub: Hub) -> None:
    files = {name: (HEAD / name).read_bytes() for name in (PART.config, PART.weights)}
    hub.create("bob/topic", files)
    here = pull(catalog, hub, "bob/topic", base=str(BASE))
    assert here.method == "head"
    assert catalog.manifest(here).labels
    assert set(catalog.manifest(here).files) == set(files)


def test_labels_that_do_not_fit_a_head_are_mended_in_a_folder(catalog: Catalog, hub: Hub) -> None:
    def fewer(config: Any) -> Any:
        ids = config["config"]["label2id"]
        ids.popitem()
        return config

    files = {name: (HEAD / name).read_bytes() for name in (PART.config, PART.weights)}
    files[PART.config] = json.dumps(fewer(json.loads(files[PART.config]))).encode()
    hub.create("bob/topic", files)
    message = rf"^{hub.url}/bob/topic: .* names 1 labels \(.*\)\. Mend its label2id"
    with pytest.raises(HeadLabelsError, match=message):
        pull(catalog, hub, "bob/topic", base=str(BASE))
    assert nothing_in(catalog)
