import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from registry import Catalog, open_catalog
from registry.database import connections as sqlite_connections
from registry.database.database import Database
from registry.errors import (
    BusyDatabaseError,
    DamagedDatabaseError,
    DamagedIndexError,
    DatabaseError,
    InvalidNameError,
    StorageError,
)


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


def test_a_path_with_odd_characters_is_one_file(tmp_path: Path) -> None:
    home = tmp_path / "a?b#c%d e"
    open_catalog(home)
    assert (home / "hubkit.db").is_file()


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
