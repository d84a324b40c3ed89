from collections.abc import Callable

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder
from registry.database.database import known_revisions
from registry.errors import DatabaseError, NewerDatabaseError
from registry.maintenance.schema import differences, downgrade


def test_tables_that_nobody_altered_do_not_differ(catalog: Catalog) -> None:
    assert differences(catalog.database) == []


def test_what_somebody_altered_is_told(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("DROP INDEX ix_files_sha256"))
    try:
        assert "ix_files_sha256" in "".join(differences(catalog.database))
    finally:  # as other tests use the database again, too
        with catalog.database.write() as connection:
            connection.execute(text("CREATE INDEX ix_files_sha256 ON files (sha256)"))


def test_a_database_goes_back_and_is_brought_up_again(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    ref = catalog.publish(AdapterRef.parse("one"), make_folder()).ref
    *_, earlier, newest = known_revisions()
    try:
        downgrade(catalog.database, earlier)
        assert catalog.database.migration() == earlier
        assert not catalog.database.is_current()
    finally:
        catalog.database.upgrade()
    assert catalog.database.migration() == newest
    assert catalog.resolve(ref).ref == ref


@pytest.mark.parametrize("target", ["9999", "", "head", "base", known_revisions()[-1]])
def test_only_an_earlier_migration_is_gone_back_to(catalog: Catalog, target: str) -> None:
    with pytest.raises(DatabaseError, match="expected an earlier one, of which there are 0001"):
        downgrade(catalog.database, target)
    assert catalog.database.is_current()


def test_a_database_of_a_newer_hubkit_is_not_taken_back(catalog: Catalog) -> None:
    _set_migration(catalog, "9999")
    try:
        with pytest.raises(NewerDatabaseError, match="is at migration 9999, but this hubkit only"):
            downgrade(catalog.database, known_revisions()[0])
    finally:
        _set_migration(catalog, known_revisions()[-1])


def _set_migration(catalog: Catalog, number: str) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE hubkit_version SET version_num = :n"), {"n": number})
