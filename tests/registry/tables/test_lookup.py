from collections.abc import Callable

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder
from registry.errors import (
    AliasNotFoundError,
    ConflictError,
    DamagedDatabaseError,
    RefNotFoundError,
    VersionNotFoundError,
)

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")


def test_a_name_keeps_its_first_spelling_and_is_found_by_any(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    catalog.publish(AdapterRef.parse("Alice/My-Adapter"), make_folder())
    second = catalog.publish(AdapterRef.parse("alice/my_adapter"), make_folder())
    assert str(second.ref) == "Alice/My-Adapter@2"
    assert catalog.resolve(AdapterRef.parse("ALICE/my.adapter")) == second


def test_a_missing_name_suggests_near_ones(catalog: Catalog, make_folder: MakeFolder) -> None:
    catalog.publish(REF, make_folder())
    catalog.publish(AdapterRef.parse("alice/mnli"), make_folder())
    with pytest.raises(RefNotFoundError, match=r"called alice/sst1\. Did you mean alice/sst2\?$"):
        catalog.resolve(AdapterRef.parse("alice/sst1@3"))
    with pytest.raises(RefNotFoundError, match=r"called SST2\. Did you mean alice/sst2\?$"):
        catalog.resolve(AdapterRef.parse("SST2"))
    with pytest.raises(RefNotFoundError, match=r"No adapter is called zzz\.$"):
        catalog.resolve(AdapterRef.parse("zzz"))


def test_a_missing_version_tells_which_there_are(catalog: Catalog, make_folder: MakeFolder) -> None:
    for _ in range(12):
        catalog.publish(REF, make_folder())
    with pytest.raises(VersionNotFoundError, match=r"no version 13; it has \.\.\., 3, 4, .*, 12\."):
        catalog.resolve(REF.at(13))


def test_a_missing_alias_tells_which_there_are(catalog: Catalog, make_folder: MakeFolder) -> None:
    catalog.publish(REF, make_folder())
    best = AdapterRef.parse("alice/sst2@best")
    with pytest.raises(AliasNotFoundError, match="no alias 'best'; it has none besides latest"):
        catalog.resolve(best)
    catalog.set_alias(REF, "stable")
    with pytest.raises(AliasNotFoundError, match="no alias 'best'; it has stable"):
        catalog.remove_alias(REF, "best")


def test_the_name_of_a_deleted_adapter_stays_taken(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    version = catalog.publish(REF, make_folder())
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE repositories SET deleted_at = '2026-01-02 00:00:00'"))
    with pytest.raises(RefNotFoundError, match="was deleted on 2026-01-02"):
        catalog.resolve(version.ref)
    with pytest.raises(ConflictError, match=r"was deleted on 2026-01-02.*Choose another name"):
        catalog.publish(AdapterRef.parse("ALICE/sst2"), make_folder())


@pytest.mark.sqlite
def test_a_time_that_is_none_is_named_as_damage(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    version = catalog.publish(AdapterRef.parse("one"), make_folder())
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE revisions SET created_at = 'yesterday'"))
    with pytest.raises(DamagedDatabaseError, match=r"expected a time .* found 'yesterday'"):
        catalog.resolve(version.ref)
