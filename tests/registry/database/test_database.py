import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import insert, select, text

from registry import Catalog, open_catalog
from registry.database import connections as sqlite_connections
from registry.database.database import Database, known_revisions
from registry.errors import (
    BusyDatabaseError,
    DamagedDatabaseError,
    DamagedIndexError,
    DatabaseError,
    InvalidNameError,
    NewerDatabaseError,
    RegistryNotFoundError,
    StorageError,
)
from registry.tables.models import REPOSITORIES


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("foreign_keys", 1),
        ("busy_timeout", 10000),
        ("synchronous", 2),
        ("trusted_schema", 0),
        ("mmap_size", 0),
    ],
)
@pytest.mark.sqlite
def test_every_connection_has_the_pragmas(catalog: Catalog, pragma: str, value: int) -> None:
    with catalog.database.read() as connection:
        assert connection.scalar(text(f"PRAGMA {pragma}")) == value


@pytest.mark.sqlite
def test_an_error_in_a_write_undoes_all_of_it(catalog: Catalog) -> None:
    def write_and_fail() -> None:
        with catalog.database.write() as connection:
            connection.execute(text("INSERT INTO revision_text (name) VALUES ('x')"))
            raise KeyError("boom")

    with pytest.raises(KeyError, match="boom"):
        write_and_fail()
    with catalog.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM revision_text")) == 0


def test_a_read_sees_one_state_while_another_process_writes(tmp_path: Path) -> None:
    catalog = open_catalog(tmp_path)
    count = text("SELECT count(*) FROM revision_text")
    with catalog.database.read() as connection:
        assert connection.scalar(count) == 0
        with catalog.database.write() as writer:
            writer.execute(text("INSERT INTO revision_text (name) VALUES ('x')"))
        assert connection.scalar(count) == 0
    with catalog.database.read() as connection:
        assert connection.scalar(count) == 1


def test_a_database_that_stays_locked_says_who_to_wait_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_connections, "BUSY_SECONDS", 0)
    catalog = open_catalog(tmp_path)
    with (
        catalog.database.write(),
        pytest.raises(DatabaseError, match="another process has been writing to it"),
        catalog.database.write(),
    ):
        pass


@pytest.mark.sqlite
def test_a_full_disk_is_a_storage_error_and_nothing_is_written(catalog: Catalog) -> None:
    def fill() -> None:
        with catalog.database.write() as connection:
            connection.execute(text("PRAGMA max_page_count = 1"))
            for number in range(1000):
                connection.execute(
                    text("INSERT INTO revision_text (name, description) VALUES (:n, :d)"),
                    {"n": str(number), "d": f"word{number} " * 1000},
                )

    with pytest.raises(StorageError, match="Free some disk space"):
        fill()
    with catalog.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM revision_text")) == 0


@pytest.mark.parametrize(
    "content", [b"no database at all, " * 100, b"SQLite format 3\0 or so" * 99]
)
def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hubkit.db"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match=r"hubkit\.db cannot be read as a SQLite database"):
        open_catalog(tmp_path)
    assert path.read_bytes() == content


def test_somebody_elses_database_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "hubkit.db")
    connection.execute("CREATE TABLE songs (title)")
    connection.close()
    with pytest.raises(DatabaseError, match="not one of hubkit's"):
        open_catalog(tmp_path)


def test_a_newer_database_is_refused_with_both_revisions(catalog: Catalog) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE hubkit_version SET version_num = '9999'"))
    newest = known_revisions()[-1]
    with pytest.raises(NewerDatabaseError, match=rf"migration 9999, .* up to {newest}: .* Upgrade"):
        catalog.database.upgrade()


def test_home_is_hubkit_home_by_default(hubkit_home: Path) -> None:
    assert open_catalog().home == hubkit_home
    assert (hubkit_home / "hubkit.db").is_file()


def test_without_create_nothing_is_made(tmp_path: Path) -> None:
    with pytest.raises(RegistryNotFoundError, match=r"expected hubkit\.db there"):
        open_catalog(tmp_path / "missing", create=False)
    assert not (tmp_path / "missing").exists()


def test_a_path_with_odd_characters_is_one_file(tmp_path: Path) -> None:
    home = tmp_path / "a?b#c%d e"
    open_catalog(home)
    assert (home / "hubkit.db").is_file()


def test_foreign_keys_hold(catalog: Catalog) -> None:
    with (
        pytest.raises(DatabaseError, match=r"(?i)foreign key constraint"),
        catalog.database.write() as connection,
    ):
        connection.execute(text("INSERT INTO refs VALUES (1, 'best', 1)"))


def test_columns_hold_aware_times(catalog: Catalog) -> None:
    from datetime import UTC, datetime, timedelta, timezone

    noon = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    with catalog.database.write() as connection:
        connection.execute(insert(REPOSITORIES), {"name": "a", "folded": "a", "created_at": noon})
    with catalog.database.read() as connection:
        kept = connection.scalar(select(REPOSITORIES.c.created_at))
        assert kept == noon
        assert kept.tzinfo is UTC


def test_opening_nothing_does_not_touch_the_disk(tmp_path: Path) -> None:
    Database(tmp_path / "hubkit.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (sqlite3.SQLITE_BUSY, BusyDatabaseError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, BusyDatabaseError),
        (sqlite3.SQLITE_LOCKED, BusyDatabaseError),
        (sqlite3.SQLITE_CORRUPT, DamagedDatabaseError),
        (sqlite3.SQLITE_CORRUPT_VTAB, DamagedIndexError),
        (sqlite3.SQLITE_NOTADB, DamagedDatabaseError),
        (sqlite3.SQLITE_FULL, StorageError),
        (sqlite3.SQLITE_IOERR_WRITE, StorageError),
        (sqlite3.SQLITE_READONLY_DIRECTORY, StorageError),
        (sqlite3.SQLITE_CANTOPEN, StorageError),
        (sqlite3.SQLITE_TOOBIG, InvalidNameError),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, DatabaseError),
    ],
)
def test_what_sqlite_refuses_is_told_as_what_it_is(
    tmp_path: Path, code: int, error: type[Exception]
) -> None:
    refused = sqlite3.OperationalError("on purpose")
    refused.sqlite_errorcode = code
    told = Database(tmp_path / "hubkit.db").backend.translate(refused)
    assert type(told) is error
    assert ("bug of hubkit" in str(told)) == (code == sqlite3.SQLITE_CONSTRAINT_UNIQUE)


def test_a_folder_in_place_of_the_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "hubkit.db").mkdir()
    with pytest.raises(DamagedDatabaseError, match=r"hubkit\.db cannot be read .*it is a folder"):
        Database(tmp_path / "hubkit.db").migration()
