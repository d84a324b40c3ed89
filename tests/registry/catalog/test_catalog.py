from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry import AdapterRef, Catalog, Folder, Version
from registry.errors import (
    ArgumentError,
    ConflictError,
    InvalidNameError,
    RefNotFoundError,
    VersionNotFoundError,
)
from registry.search.search import search

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")


def parent(version: Version) -> dict[str, str]:
    return {"ref": str(version.ref), "digest": version.manifest_digest}


def test_an_alias_moves_and_is_removed(catalog: Catalog, make_folder: MakeFolder) -> None:
    first, second = (catalog.publish(REF, make_folder()) for _ in range(2))
    best = AdapterRef.parse("alice/sst2@best")
    assert catalog.set_alias(first.ref, "best").aliases == ("best",)
    assert catalog.resolve(best).ref == first.ref
    catalog.set_alias(REF, "best")
    assert catalog.resolve(best).ref == second.ref
    assert catalog.resolve(first.ref).aliases == ()
    catalog.remove_alias(best, "best")
    assert catalog.resolve(second.ref).aliases == ()


def test_latest_is_computed_and_cannot_be_set(catalog: Catalog, make_folder: MakeFolder) -> None:
    first, second = (catalog.publish(REF, make_folder()) for _ in range(2))
    latest = AdapterRef.parse("alice/sst2@latest")
    assert catalog.resolve(latest) == catalog.resolve(REF) == second
    with pytest.raises(InvalidNameError, match="cannot be set"):
        catalog.set_alias(first.ref, "latest")


def test_a_yanked_version_is_found_only_by_its_number(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    first, second = (catalog.publish(REF, make_folder()) for _ in range(2))
    catalog.set_alias(second.ref, "best")
    assert catalog.yank(second.ref, "wrong labels").yank_reason == "wrong labels"
    assert catalog.resolve(REF) == first
    assert catalog.resolve(second.ref).yanked
    with pytest.raises(VersionNotFoundError, match="version 2, which is yanked: wrong labels"):
        catalog.resolve(AdapterRef.parse("alice/sst2@best"))
    with pytest.raises(ConflictError, match="is yanked"):
        catalog.set_alias(second.ref, "stable")
    catalog.yank(first.ref, "too")
    with pytest.raises(
        VersionNotFoundError, match=r"all its versions are yanked \(1, 2\), version 2"
    ):
        catalog.resolve(REF)
    assert not catalog.unyank(second.ref).yanked
    assert catalog.resolve(REF).ref == second.ref


def test_yanking_asks_for_a_number(catalog: Catalog, make_folder: MakeFolder) -> None:
    catalog.publish(REF, make_folder())
    with pytest.raises(InvalidNameError, match="Say which version of alice/sst2 is meant"):
        catalog.yank(REF, "oops")


def test_a_deleted_adapter_is_found_by_nothing(catalog: Catalog, make_folder: MakeFolder) -> None:
    versions = [catalog.publish(REF, make_folder(tags=["t"])) for _ in range(2)]
    catalog.set_alias(versions[0].ref, "best")
    assert catalog.delete(REF) == [1, 2]
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    for ref in (REF, versions[0].ref, AdapterRef.parse("alice/sst2@best")):
        with pytest.raises(RefNotFoundError, match=f"was deleted on {today}; its name stays"):
            catalog.resolve(ref)
    assert catalog.find_digest(versions[0].manifest_digest) is None
    assert search(catalog).items == search(catalog, text="sst2").items == ()


def test_its_name_is_never_handed_on(
    catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder
) -> None:
    folder = make_folder()
    catalog.publish(REF, folder)
    catalog.delete(REF)
    with pytest.raises(ConflictError, match="was deleted"):
        catalog.publish(AdapterRef.parse("Alice/SST2"), make_folder())
    other_catalog.publish(REF, folder)
    with pytest.raises(ConflictError, match="was deleted"):
        catalog.pull(REF, other_catalog)
    with pytest.raises(RefNotFoundError, match="was deleted"):
        catalog.delete(REF)
    assert str(catalog.publish(AdapterRef.parse("alice/again"), folder).ref) == "alice/again@1"


def test_an_adapter_made_of_its_own_earlier_version_is_deleted_whole(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    one = catalog.publish(REF, make_folder())
    catalog.publish(REF, make_folder(kind="stack", parents=[parent(one)]))
    assert catalog.delete(REF) == [1, 2]


def test_only_a_whole_adapter_can_be_deleted(catalog: Catalog, make_folder: MakeFolder) -> None:
    version = catalog.publish(REF, make_folder())
    with pytest.raises(
        InvalidNameError,
        match=r"found alice/sst2@1\. One version can be yanked",
    ):
        catalog.delete(version.ref)
    with pytest.raises(RefNotFoundError, match="No adapter is called"):
        catalog.delete(AdapterRef.parse("alice/none"))
    assert catalog.resolve(REF) == version


@pytest.mark.once
def test_a_catalog_can_be_made_without_touching_anything(tmp_path: Path) -> None:
    Catalog(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_text_is_no_ref(catalog: Catalog) -> None:
    with pytest.raises(ArgumentError, match="ref must be an AdapterRef, not 'alice/sst2'"):
        catalog.resolve("alice/sst2")  # type: ignore[arg-type]
