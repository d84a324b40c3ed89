"""Deletion of what others are made of."""

import os
from collections.abc import Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
from sqlalchemy import Connection

from registry import AdapterRef, Catalog, Folder, Parent, Version
from registry.errors import ConflictError, InvalidNameError, RefNotFoundError
from registry.history import deleting
from registry.history.repositories import Repository
from registry.maintenance.bundle import export_bundle, import_bundle
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage
from registry.search.search import search
from registry.tables.lineage import find_ancestors, find_descendants

MakeFolder = Callable[..., Folder]
ONE, FUSED, DEEP = (AdapterRef.parse(name) for name in ("ada/one", "bob/fused", "carl/deep"))


def made_of(version: Version) -> Parent:
    return Parent(ref=str(version.ref), digest=version.manifest_digest)


@pytest.fixture
def one(catalog: Catalog, make_folder: MakeFolder) -> Version:
    return catalog.publish(ONE, make_folder(tags=["findable"]), author="ada", message="secret plan")


@pytest.fixture
def fused(catalog: Catalog, make_folder: MakeFolder, one: Version) -> Version:
    return catalog.publish(FUSED, make_folder(kind="fusion", parents=[made_of(one)]))


def left_of(catalog: Catalog, version: Version) -> Version | None:
    left = catalog.find_digest(version.manifest_digest)
    assert left is None or left.ref == AdapterRef.nameless(version.manifest_digest).at(1)
    return left


def require_sound(catalog: Catalog) -> None:
    report = check_registry(catalog, full=True)
    assert report.status == 0, report.findings


def collect_old(catalog: Catalog) -> int:
    for path in (catalog.home / "blobs").rglob("*"):
        os.utime(path, (0, 0))
    return sum(collect_garbage(catalog, grace=timedelta(0)).removed for _ in range(2))


def test_what_another_is_made_of_stays_without_a_name(
    catalog: Catalog, one: Version, fused: Version, tmp_path: Path
) -> None:
    assert catalog.users(ONE) == [fused]
    assert catalog.delete(ONE) == [1]
    with pytest.raises(RefNotFoundError, match="was deleted"):
        catalog.resolve(ONE)
    (left,) = catalog.parents(fused)
    assert left == left_of(catalog, one)
    assert (left.author, left.message, left.manifest_digest) == (
        "deleted",
        "",
        one.manifest_digest,
    )
    assert catalog.lineage(fused).parents[0].version == left
    catalog.materialize(left, tmp_path / "out")
    assert collect_old(catalog) == 0
    assert (catalog.folder(left) / "adapter_config.json").is_file()
    require_sound(catalog)


def test_no_list_and_no_search_has_it_and_no_near_match_names_it(
    catalog: Catalog, one: Version, fused: Version
) -> None:
    catalog.delete(ONE)
    assert [found.ref for found in search(catalog).items] == [fused.ref]
    assert search(catalog, text="findable").items == ()
    assert catalog.history.without_account() == [FUSED]
    with pytest.raises(RefNotFoundError) as caught:
        catalog.resolve(AdapterRef("deleted", "0" * 64))
    assert one.manifest_digest not in str(caught.value)


def test_it_goes_with_the_last_that_is_made_of_it_directly_or_not(
    catalog: Catalog, one: Version, fused: Version, make_folder: MakeFolder
) -> None:
    deep = catalog.publish(DEEP, make_folder(kind="stack", parents=[made_of(fused)]))
    catalog.delete(ONE)
    catalog.delete(FUSED)
    assert [left_of(catalog, each) is None for each in (one, fused)] == [False, False]
    with catalog.database.read() as connection:
        (of,) = find_ancestors(connection, deep.manifest_digest)
        assert [other.digest for other in of.relatives] == [one.manifest_digest]
        assert [user.digest for user in find_descendants(connection, one.manifest_digest)] == [
            fused.manifest_digest
        ]
    assert catalog.lineage(one).children == ()  # nothing that has a name
    require_sound(catalog)
    catalog.delete(DEEP)
    assert [left_of(catalog, each) for each in (one, fused)] == [None, None]
    collect_old(catalog)
    assert [path for path in (catalog.home / "blobs").rglob("*") if path.is_file()] == []
    require_sound(catalog)


def test_what_is_needed_again_after_it_went_comes_back(
    catalog: Catalog, one: Version, fused: Version, make_folder: MakeFolder, other_catalog: Catalog
) -> None:
    other_catalog.pull(FUSED, catalog)
    catalog.delete(ONE)
    catalog.delete(FUSED)
    assert left_of(catalog, one) is None
    catalog.pull(ONE.at(1), other_catalog, name=AdapterRef.parse("ada/two"))
    again = make_folder(kind="mix", parents=[made_of(one)])
    mixed = catalog.publish(DEEP, again)
    catalog.delete(AdapterRef.parse("ada/two"))
    assert catalog.parents(mixed) == [left_of(catalog, one)]
    require_sound(catalog)


def test_its_own_earlier_version_that_is_needed_for_one_that_others_are_made_of_stays(
    catalog: Catalog, one: Version, make_folder: MakeFolder
) -> None:
    two = catalog.publish(ONE, make_folder(kind="stack", parents=[made_of(one)]))
    three = catalog.publish(ONE, make_folder())
    fused = catalog.publish(FUSED, make_folder(kind="fusion", parents=[made_of(two)]))
    assert catalog.delete(ONE) == [1, 2, 3]
    (left,) = catalog.parents(fused)
    assert catalog.parents(left) == [left_of(catalog, one)]
    assert left_of(catalog, three) is None


def test_a_copy_that_has_a_name_is_meant_rather_than_what_has_none(
    catalog: Catalog, one: Version, fused: Version, other_catalog: Catalog
) -> None:
    other_catalog.pull(FUSED, catalog)
    catalog.delete(ONE)
    copy = catalog.pull(ONE.at(1), other_catalog, name=AdapterRef.parse("ada/two"))
    assert catalog.parents(fused) == [copy]
    catalog.delete(copy.ref.repository)
    assert catalog.parents(fused) == [left_of(catalog, one)]


def test_it_travels_with_what_is_made_of_it(
    catalog: Catalog, one: Version, fused: Version, other_catalog: Catalog, tmp_path: Path
) -> None:
    catalog.delete(ONE)
    pulled = other_catalog.pull(FUSED, catalog)
    assert other_catalog.parents(pulled) == [left_of(other_catalog, one)]
    require_sound(other_catalog)
    bundle = BytesIO()
    export_bundle(catalog, FUSED, bundle)
    other_catalog.delete(FUSED)
    assert left_of(other_catalog, one) is None
    third = Catalog(tmp_path / "third")
    third.database.upgrade()
    bundle.seek(0)
    imported = import_bundle(third, bundle)
    assert imported[0] == left_of(third, one)
    require_sound(third)
    third.close()


def test_what_a_pull_has_just_brought_stays_when_something_else_is_deleted(
    catalog: Catalog,
    one: Version,
    fused: Version,
    other_catalog: Catalog,
    make_folder: MakeFolder,
) -> None:
    catalog.delete(ONE)
    (left,) = catalog.parents(fused)
    other_catalog.pull(left, catalog)  # as a pull of what is made of it begins
    for name in ("one", "two"):
        other_catalog.publish(AdapterRef(None, name), make_folder())
        other_catalog.delete(AdapterRef(None, name))
    assert left_of(other_catalog, one) is not None
    assert other_catalog.parents(other_catalog.pull(FUSED, catalog)) == [left]


def test_it_can_be_neither_deleted_nor_renamed_nor_published_to(
    catalog: Catalog, one: Version, fused: Version, make_folder: MakeFolder
) -> None:
    catalog.delete(ONE)
    left = AdapterRef.nameless(one.manifest_digest)
    with pytest.raises(ConflictError, match="others are made of it"):
        catalog.delete(left)
    with pytest.raises(InvalidNameError, match="They keep them"):
        catalog.move(left, AdapterRef.parse("bob/mine"))
    with pytest.raises(InvalidNameError, match="They keep them"):
        catalog.move(FUSED, AdapterRef("Deleted", "mine"))
    for name in (left, AdapterRef("deleted", "mine")):
        with pytest.raises(InvalidNameError, match="Choose another name"):
            catalog.publish(name, make_folder())
    assert catalog.parents(fused) == [left_of(catalog, one)]


def test_something_that_is_made_of_it_while_it_is_deleted_keeps_it(
    catalog: Catalog, one: Version, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list[Version]()
    look = deleting._needed

    def publish_after(connection: Connection, repository: Repository) -> list[Version]:
        needed = look(connection, repository)
        if not made:
            folder = make_folder(kind="fusion", parents=[made_of(one)])
            made.append(catalog.publish(FUSED, folder))
        return needed

    monkeypatch.setattr(deleting, "_needed", publish_after)
    catalog.delete(ONE)
    assert catalog.parents(made[0]) == [left_of(catalog, one)]


def test_what_a_kill_left_behind_goes_with_the_next_collection(
    catalog: Catalog, one: Version, fused: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.delete(ONE)
    monkeypatch.setattr(deleting, "remove_unneeded", lambda *args: 0)
    catalog.delete(FUSED)
    assert left_of(catalog, one) is not None
    collect_garbage(catalog, dry_run=True)
    assert left_of(catalog, one) is not None
    collect_garbage(catalog)
    assert left_of(catalog, one) is None
