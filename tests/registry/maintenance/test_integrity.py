import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Version
from registry.errors import AlteredLogError, DamagedDatabaseError, DatabaseError
from registry.maintenance.fsck import check_registry
from registry.maintenance.rebuild import rebuild
from tests.registry.maintenance.conftest import texts

REF = AdapterRef.parse("alice/sst2")


@pytest.mark.sqlite
def test_an_index_that_misses_rows_is_damage(catalog: Catalog, version: Version) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("PRAGMA writable_schema=ON"))
        connection.execute(
            text(
                "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master"
                " WHERE name = 'ix_parents_digest') WHERE name = 'ix_files_sha256'"
            )
        )
    catalog.close()
    assert "is damaged: " in texts(check_registry(catalog, full=True))


@pytest.mark.sqlite
def test_a_row_that_refers_to_nothing_is_damage(catalog: Catalog, version: Version) -> None:
    import sqlite3

    with sqlite3.connect(catalog.database.path) as connection:
        connection.execute("DELETE FROM revisions WHERE id = 1")
    connection.close()
    report = check_registry(catalog)
    assert report.status == 2
    assert "refers to nothing" in texts(report)
    assert any(one.about in (AlteredLogError, DamagedDatabaseError) for one in report.findings)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("revisions.created_at", "garbage"),
        ("revisions.created_at", "2024-02-31 00:00:00.000000"),
        ("repositories.deleted_at", 5),
        ("repositories.name", b"\xff"),
        ("revisions.number", "seven"),
        ("files.size", 0.5),
        ("metrics.value", "much"),
        ("metrics.higher_is_better", 2),
        ("tags.position", "first"),
        ("log.at", "now"),
        ("log_head.sequence", "last"),
    ],
)
def test_a_value_of_another_type_is_damage_that_a_rebuild_mends(
    catalog: Catalog, version: Version, column: str, value: object
) -> None:
    table, _, name = column.partition(".")
    with catalog.database.write() as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        connection.exec_driver_sql(f"UPDATE {table} SET {name} = ?", (value,))
    catalog.close()
    report = check_registry(catalog)
    assert report.status == 2
    assert f"rows of {table} have a value of the wrong type in {name}" in texts(report)
    assert rebuild(catalog).problems == ()
    assert check_registry(catalog, full=True).findings == ()
    assert catalog.resolve(REF) == version


@pytest.mark.sqlite
def test_a_file_that_is_no_database_is_an_error(catalog: Catalog, version: Version) -> None:
    catalog.database.close()
    catalog.database.path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseError, match="cannot be read as a SQLite database"):
        check_registry(catalog)
