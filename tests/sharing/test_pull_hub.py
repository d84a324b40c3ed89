"""Pulling what hubkit published, with the stock client, over HTTP."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import hubkit
from hubkit.composing.average import publish_average
from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog
from registry.errors import RemoteNotFoundError
from registry.search.search import search
from tests.support.foreign import PEFT
from tests.support.hub import Hub
from tests.support.learned import publish_learned
from tests.support.models import same, snapshot
from tests.support.roundtrip import pull, push
from tests.support.shelf import publish_fusion, publish_head, publish_lora


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
    assert other_catalog.origins(here) == [f"{hub.url}/ada/topic@v1"]


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
    assert hub.paths("GET", "/resolve/") == []


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
    for unknown, revision in (("7", "v7"), ("mian", "mian")):
        message = f"film has no revision {revision}; it has v2, v1, main. Name one of these, or"
        with pytest.raises(RemoteNotFoundError, match=message):
            pull(other_catalog, hub, f"ada/film@{unknown}")


def test_what_a_fusion_is_made_of_comes_along(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_fusion(catalog)
    push(catalog, hub, "both")
    pull(other_catalog, hub, "ada/both")
    names = [str(version.ref) for version in search(other_catalog).items]
    assert names == ["ada/both@1", "ada/b@1", "ada/a@1"]


def test_so_does_what_was_deleted_there_since(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_fusion(catalog)
    push(catalog, hub, "both")
    hub.repos["ada/b"].delete()
    here = pull(other_catalog, hub, "ada/both")
    there = catalog.resolve(AdapterRef.parse("b"))
    assert there.manifest_digest in {one.manifest_digest for one in other_catalog.parents(here)}


def test_so_it_does_with_a_learned_mix_whose_weights_are_the_same(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_fusion(catalog)
    publish_learned(catalog, "mixed", vectors=True, shared=True)
    push(catalog, hub, "mixed")
    here = pull(other_catalog, hub, "ada/mixed")
    assert here.kind == "mix"
    one, other = (
        hubkit.load_composition(name, catalog=where)
        for name, where in (("mixed", catalog), ("ada/mixed", other_catalog))
    )
    assert isinstance(one, hubkit.LearnedMix)
    assert isinstance(other, hubkit.LearnedMix)
    assert other.shared
    assert all(same(snapshot(other.weights[s]), snapshot(w)) for s, w in one.weights.items())


def test_an_average_comes_with_what_its_lineage_names(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_fusion(catalog)
    parts = [AdapterRef.parse(part) for part in "ab"]
    there = publish_average(catalog, AdapterRef.parse("mean"), parts, align=True)
    push(catalog, hub, "mean")
    here = pull(other_catalog, hub, "ada/mean")
    assert (here.kind, here.method) == ("adapter", "seq_bn")
    assert [one.ref for one in other_catalog.lineage(here).parents] == ["a@1", "b@1"]
    assert (other_catalog.folder(here) / "adapter.safetensors").read_bytes() == (
        catalog.folder(there) / "adapter.safetensors"
    ).read_bytes()
