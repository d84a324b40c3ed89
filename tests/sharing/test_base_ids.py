"""A base model that is a folder here gets an id before anything goes to a hub."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from hubkit.bases.stored import cache_in, where_base_is
from hubkit.sharing.base_ids import hub_id
from hubkit.sharing.publish_folder import checked_folder, publish_folder
from registry import AdapterRef, Catalog, Folder, Manifest
from registry.errors import (
    ConflictError,
    FolderError,
    HubkitError,
    InvalidNameError,
    RemoteAccessError,
)
from registry.folders.card import parse_card
from registry.manifest import BaseModelInfo
from tests.support.foreign import BASE, BERT, HEAD, PEFT, copy, edit
from tests.support.hub import Hub
from tests.support.misbehaving import MisbehavingHub
from tests.support.roundtrip import come_as, push
from tests.support.shelf import publish_head, publish_on_base


def publish(catalog: Catalog, name: str, source: object = HEAD) -> None:
    """With the base model as a folder, which is how people train without a network."""
    ref = AdapterRef.parse(name)
    publish_folder(catalog, source, ref, task="film", base=str(BASE))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "base", ["/models/bert", "./bert", "../bert", "~/bert", "a/b/c", "C:\\bert", "C:/bert", "bert/"]
)
def test_a_path_on_a_machine_is_no_id(base: str) -> None:
    assert hub_id(BaseModelInfo(id=base)) is None


def test_a_class_is_no_id() -> None:
    assert hub_id(BaseModelInfo(id="BertModel", architecture="BertModel")) is None


@pytest.mark.parametrize("base", ["bert-base-uncased", "team/bert", "Qwen/Qwen2.5-0.5B"])
def test_an_id_is_one(base: str) -> None:
    assert hub_id(BaseModelInfo(id=base)) == base


def test_a_path_is_not_published_but_asked_about(catalog: Catalog, hub: Hub) -> None:
    publish(catalog, "topic")
    with pytest.raises(FolderError, match=r"topic@1 names its base model only as /.*, which"):
        push(catalog, hub, "topic")
    assert hub.repos == {}


def test_with_an_id_the_same_is_published_here_and_there(
    catalog: Catalog, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    publish(catalog, "topic")
    with caplog.at_level(logging.WARNING):
        pushed = push(catalog, hub, "topic", base="team/bert")
    assert (pushed.repository, pushed.tag, str(pushed.version.ref)) == (
        "ada/topic",
        "v2",
        "topic@2",
    )
    assert "What is published is topic@2: the same, but it calls the base model team/bert" in (
        caplog.text
    )
    files = hub.repos["ada/topic"].files("v2")
    assert not [path for path, content in files.items() if str(BASE).encode() in content]
    there = Manifest.from_json(files["hubkit.json"], "hubkit.json")
    assert there.digest == catalog.resolve(AdapterRef.parse("topic@2")).manifest_digest
    first = catalog.manifest(catalog.resolve(AdapterRef.parse("topic@1")))
    assert there.base_model == first.base_model.model_copy(update={"id": "team/bert"})
    card = parse_card(files["README.md"].decode(), BASE)
    assert card.base_models == ("team/bert",)
    for ref in ("topic", "topic@1"):
        assert push(catalog, hub, ref, base="team/bert").new is False
    assert len(catalog.versions(AdapterRef.parse("topic"))) == 2


@pytest.mark.parametrize("named", ["/x", "tiny-bert"])
def test_the_configuration_of_the_stock_library_names_the_id_too(
    catalog: Catalog, hub: Hub, tmp_path: Path, named: str
) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    edit(folder / "adapter_config.json", lambda config: config | {"base_model_name_or_path": named})
    publish(catalog, "film", folder)
    push(catalog, hub, "film", base="team/bert")
    config = hub.repos["ada/film"].files()["adapter_config.json"]
    assert b'"base_model_name_or_path": "team/bert"' in config
    assert named.encode() not in config


@pytest.mark.parametrize("base", [str(BASE), "team/bert"], ids=["a folder", "an id"])
def test_the_card_that_it_came_with_names_the_id_too(
    catalog: Catalog, hub: Hub, tmp_path: Path, base: str
) -> None:
    folder, trained_on = copy(PEFT / "lora" / "a", tmp_path / "a"), f"{BASE}/my models/it's"
    keys = dict.fromkeys(("base_model_name_or_path", "tokenizer_name_or_path"), trained_on)
    edit(folder / "adapter_config.json", lambda config: config | keys)
    quoted = trained_on.replace("'", "''")
    (folder / "README.md").write_text(
        f"---\nbase_model: '{quoted}'\nlicense: mit\ntags:\n- 'base_model:adapter:{quoted}'\n"
        f"- film\nmodel-index:\n- name: '{quoted}/out'\n---\n\n# A tune of {trained_on}\n"
    )
    with checked_folder(catalog, folder, AdapterRef.parse("film"), base=str(BASE)) as checked:
        assert checked.manifest.tags == ("film",)
        manifest = checked.manifest.model_copy(
            update={
                "base_model": checked.manifest.base_model.model_copy(update={"id": base}),
                # As releases published it that took such tags over.
                "tags": (f"base_model:adapter:{trained_on}", "film"),
            }
        )
        catalog.publish(AdapterRef.parse("film"), Folder(manifest, checked.path))
    pushed = push(catalog, hub, "film", base="team/bert")
    assert pushed.tag == "v2"
    files = hub.repos["ada/film"].files()
    assert not [path for path, content in files.items() if b"my models" in content]
    assert Manifest.from_json(files["hubkit.json"], "hubkit.json").tags == ("film",)
    own = parse_card(files["hubkit-own-card.md"].decode(), BASE)
    assert (own.base_models, own.license, own.tags) == (("team/bert",), "mit", ("film",))
    assert own.text == "# A tune of team/bert\n"
    assert b"# A tune of team/bert" in files["README.md"]
    assert json.loads(files["adapter_config.json"])["tokenizer_name_or_path"] == "team/bert"
    assert push(catalog, hub, "film@2").new is False


def test_an_address_that_ends_as_the_folder_does_stays(
    catalog: Catalog, hub: Hub, tmp_path: Path
) -> None:
    folder = copy(PEFT / "lora" / "a", tmp_path / "a")
    edit(folder / "adapter_config.json", lambda config: config | {"base_model_name_or_path": "/x"})
    (folder / "README.md").write_text("# Of /x/, not /xy: https://a.org/x\n")
    publish(catalog, "film", folder)
    push(catalog, hub, "film", base="team/bert")
    own = parse_card(hub.repos["ada/film"].files()["hubkit-own-card.md"].decode(), BASE)
    assert own.text == "# Of team/bert/, not /xy: https://a.org/x\n"


def test_a_fusion_goes_with_all_that_it_is_made_of(catalog: Catalog, hub: Hub) -> None:
    for name, folder in (("a", "a"), ("b", "b"), ("both", "fusion_ab_static")):
        publish(catalog, name, BERT / "seq_bn" / folder)
    pushed = push(catalog, hub, "both", base="team/bert")
    assert {name: [*repo.tags] for name, repo in hub.repos.items()} == {
        "ada/a": ["v2"],
        "ada/b": ["v2"],
        "ada/both": ["v2"],
    }
    parents = catalog.manifest(pushed.version).parents
    assert [parent.ref for parent in parents] == ["a@2", "b@2"]
    for repo in hub.repos.values():
        assert not any(str(BASE).encode() in content for content in repo.files().values())


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ({"token": "ada reads"}, RemoteAccessError, "has no right to write to it"),
        ({"token": "ada reads", "there": {}}, RemoteAccessError, "has no right to write to it"),
        ({"there": {"train.py": b"x"}}, ConflictError, "holds train.py"),
    ],
    ids=["a new repository", "an empty one", "that of something else"],
)
def test_what_the_hub_refuses_is_not_published_here_either(
    catalog: Catalog,
    hub: Hub,
    setting: dict[str, object],
    error: type[HubkitError],
    message: str,
) -> None:
    for name, folder in (("a", "a"), ("b", "b"), ("both", "fusion_ab_static")):
        publish(catalog, name, BERT / "seq_bn" / folder)
        if "there" in setting:
            hub.create(f"ada/{name}", setting["there"])  # type: ignore[arg-type]
    come_as(hub, str(setting.get("token", "ada")))
    before = {name: len(repo.commits) for name, repo in hub.repos.items()}
    with pytest.raises(error, match=message):
        push(catalog, hub, "both", "ada/both", base="team/bert")
    for name in ("a", "b", "both"):
        assert [version.number for version in catalog.versions(AdapterRef(None, name))] == [1]
    assert {name: len(repo.commits) for name, repo in hub.repos.items()} == before


def test_a_hub_that_does_not_say_who_may_write_is_published_to(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    publish(catalog, "topic")
    misbehaving_hub.create("ada/topic")
    misbehaving_hub.refusals = {"/auth-check/": 404}
    assert push(catalog, misbehaving_hub, "topic", base="team/bert").new


def test_nothing_is_renamed_unless_all_can_be(catalog: Catalog, hub: Hub) -> None:
    publish(catalog, "a", BERT / "seq_bn" / "a")
    publish_on_base(catalog, BERT / "seq_bn" / "b", "b", task="film")
    publish(catalog, "both", BERT / "seq_bn" / "fusion_ab_static")
    with pytest.raises(ConflictError, match="b@1 says that its base model is team/tiny-bert"):
        push(catalog, hub, "both", base="team/other")
    assert len(catalog.versions(AdapterRef.parse("a"))) == 1
    assert hub.repos == {}


def test_an_id_is_given_once(catalog: Catalog, hub: Hub) -> None:
    publish_head(catalog)
    with pytest.raises(ConflictError, match="its base model is team/tiny-bert, not team/other"):
        push(catalog, hub, "topic", base="team/other")
    with pytest.raises(InvalidNameError, match="/models/bert is not the id of a base model"):
        push(catalog, hub, "topic", base="/models/bert")
    assert hub.repos == {}
    assert push(catalog, hub, "topic", base="team/tiny-bert").new


def test_a_base_model_with_an_id_is_still_found_in_its_folder(catalog: Catalog, hub: Hub) -> None:
    publish(catalog, "topic")
    version = push(catalog, hub, "topic", base="team/bert").version
    base, cache = catalog.manifest(version).base_model, cache_in(catalog.home)
    assert where_base_is(base, cache) == str(BASE)
    unknown = base.model_copy(update={"fingerprint": "0" * 64, "rounded": {}})
    assert where_base_is(unknown, cache) == "team/bert"
    assert where_base_is(base, catalog.home / "none") == "team/bert"
