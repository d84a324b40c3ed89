"""What is published to a hub of hubkit's is the same version there, and where it is pulled."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from hubkit.sharing.publish_folder import publish_folder
from registry import AdapterRef, Catalog, Version
from registry.errors import RemoteConflictError
from tests.support.foreign import PEFT, copy
from tests.support.hub import Asked, Hub
from tests.support.misbehaving import MisbehavingHub
from tests.support.roundtrip import LORA, WEIGHTS, come_as, pull, push
from tests.support.shelf import publish_fusion, publish_head, publish_lora

CARD = "---\nlicense: mit\n---\n# My own words\n"
FILM = AdapterRef.parse("ada/film")


def publish_with_card(catalog: Catalog, name: str, folder: Path) -> Version:
    copy(PEFT / "lora" / "a", folder)
    (folder / "README.md").write_text(CARD)
    return publish_folder(catalog, folder, AdapterRef.parse(name), task="film")


def with_card(catalog: Catalog, folder: Path) -> Version:
    return publish_with_card(catalog, "film", folder)


def an_adapter(catalog: Catalog, folder: Path) -> Version:
    return publish_head(catalog, "film")


def a_fusion(catalog: Catalog, folder: Path) -> Version:
    return publish_fusion(catalog, "film")


@pytest.mark.parametrize("make", [with_card, an_adapter, a_fusion])
def test_it_is_the_same_here_there_and_where_it_is_pulled(
    catalog: Catalog,
    other_catalog: Catalog,
    hub: Hub,
    tmp_path: Path,
    make: Callable[[Catalog, Path], Version],
) -> None:
    version = make(catalog, tmp_path / "folder")
    push(catalog, hub, "film")
    there = hub.catalog.resolve(FILM)
    assert (there.number, there.manifest_digest) == (1, version.manifest_digest)
    here = pull(other_catalog, hub, "ada/film")
    assert (here.number, here.manifest_digest) == (1, version.manifest_digest)
    if make is with_card:
        assert (other_catalog.folder(here) / "README.md").read_text() == CARD


def test_it_has_the_number_that_it_has_here_whichever_goes_first(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    numbered = {
        number: publish_lora(catalog, which=which).manifest_digest
        for number, which in ((1, "a"), (2, "b"))
    }
    third = publish_head(catalog, "film")
    for number in (3, 1):
        push(catalog, hub, f"film@{number}")
    found = {one.number: one.manifest_digest for one in hub.catalog.versions(FILM)}
    assert found == {1: numbered[1], 3: third.manifest_digest}
    assert hub.repos["ada/film"].tags.keys() == {"v1", "v3"}
    assert hub.repos["ada/film"].branches.keys() == {"main"}
    assert pull(other_catalog, hub, "ada/film").number == 3
    assert pull(other_catalog, hub, "ada/film@1").manifest_digest == numbered[1]


def test_a_number_that_something_else_had_is_refused(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_lora(other_catalog, which="b")
    push(other_catalog, hub, "film")
    publish_lora(catalog)
    with pytest.raises(RemoteConflictError, match=r"something else under v1: .* Versions never c"):
        push(catalog, hub, "film")


def test_a_number_that_is_taken_in_between_is_refused(
    catalog: Catalog, misbehaving_hub: MisbehavingHub
) -> None:
    publish_lora(catalog)
    repo = misbehaving_hub.create("ada/film")

    def interfere(asked: Asked) -> None:
        if "/commit/" in asked.path:
            repo.tag("v1")

    misbehaving_hub.before = interfere
    message = r"cannot get the tag v1, which .*\. Nothing was published as v1\.$"
    with pytest.raises(RemoteConflictError, match=message):
        push(catalog, misbehaving_hub, "film")
    assert repo.files().keys() == {".gitattributes"}


def test_what_a_push_made_version_1_is_not_overwritten(catalog: Catalog, hub: Hub) -> None:
    repo = hub.create("ada/film", LORA)
    assert repo.tags.keys() == {"v1"}
    publish_lora(catalog, which="b")
    found = hub.catalog.resolve(FILM).manifest_digest[:12]
    with pytest.raises(RemoteConflictError, match=f"something else under v1: .* found {found}"):
        push(catalog, hub, "film")
    assert repo.files()[WEIGHTS] == LORA[WEIGHTS]


def test_a_number_that_was_something_else_before_the_repository_was_made_anew_is_refused(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    first = publish_lora(catalog)
    push(catalog, hub, "film")
    hub.repos["ada/film"].delete()
    other = publish_lora(other_catalog, which="b")
    message = (
        f"ada/film@1 was something else before ada/film was deleted: expected manifest "
        f"{first.manifest_digest[:12]}, found {other.manifest_digest[:12]}.*published as v1"
    )
    with pytest.raises(RemoteConflictError, match=message):
        push(other_catalog, hub, "film")
    assert push(catalog, hub, "film").tag == "v1", "the same content gets its number back"
    third = publish_head(other_catalog, "film")
    assert push(other_catalog, hub, "film@2").tag == "v2"
    assert hub.catalog.resolve(FILM).manifest_digest == third.manifest_digest


def test_the_same_content_may_have_another_number_there_too(
    catalog: Catalog, other_catalog: Catalog, hub: Hub
) -> None:
    publish_lora(other_catalog)
    push(other_catalog, hub, "film")
    publish_lora(catalog, which="b")
    second = publish_lora(catalog)
    assert push(catalog, hub, "film@2").tag == "v2"
    assert pull(catalog, hub, "ada/film@2").manifest_digest == second.manifest_digest
    assert [one.number for one in hub.catalog.versions(FILM)] == [1]


def test_a_version_that_was_published_where_the_hub_is_comes_with_its_card(
    other_catalog: Catalog, hub: Hub, tmp_path: Path
) -> None:
    version = publish_with_card(hub.catalog, "ada/film", tmp_path / "folder")
    here = pull(other_catalog, hub, "ada/film")
    assert (here.number, here.manifest_digest) == (1, version.manifest_digest)
    path = other_catalog.blobs.path(other_catalog.manifest(here).files["README.md"].sha256)
    path.chmod(0o600)
    path.write_bytes(b"wrong")
    shutil.rmtree(constants.HF_HOME)
    come_as(hub, "ada")
    assert (other_catalog.folder(here) / "README.md").read_text() == CARD, "fetched again"
    assert not push(other_catalog, hub, "ada/film").new
