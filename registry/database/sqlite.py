"""The database of a registry as a SQLite file."""

import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

from sqlalchemy import Connection, Engine

from registry.database.connections import (
    BUSY_SECONDS,
    PRIMARY_CODE,
    can_only_be_read,
    connect,
    new_engine,
)
from registry.database.journal import checkpoint, checkpoint_is_due, has_wal_reset_fix, journal_mode
from registry.errors import DatabaseError, StorageError
from registry.storage.durable import storage_errors


class Sqlite:
    """What is particular to SQLite; `registry.database.backend` says what each part is for.

    Args:
        path: The file.
    """

    driver_error: type[Exception] = sqlite3.Error

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self.path = path
        self.label = str(path)
        self.engine = new_engine(path)
        self.reading_engine: Engine = self.engine
        # A transaction that reads first and asks for the write lock later fails without waiting
        # when another process wrote in between.
        self.writing_engine: Engine = self.engine.execution_options(begin="BEGIN IMMEDIATE")

    def exists(self) -> bool:
        """Whether there is a file; connecting would make one."""
        with storage_errors("read", self.path):
            return self.path.exists()

    def is_prepared(self, connection: Connection) -> bool:
        """Whether the journal is the one that is safe here, or cannot be changed."""
        if can_only_be_read(self.path):
            return True
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
        return mode == journal_mode(self.path)

    def table_names(self, connection: Connection) -> set[str]:
        """Return the names of all tables."""
        return set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Keep other processes from upgrading, with the safe journal switched on."""
        from filelock import FileLock

        lock = self.path.with_name(f"{self.path.name}.lock")
        with storage_errors("lock", lock), FileLock(lock):
            with self.engine.connect() as connection:
                if not self.is_prepared(connection):
                    # The mode changes neither in a transaction nor while one is open elsewhere.
                    connection.exec_driver_sql("ROLLBACK")
                    connection.exec_driver_sql(f"PRAGMA journal_mode={journal_mode(self.path)}")
            yield

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Yield a connection in a transaction without foreign keys, which are checked at its end.

        With them on, copying a table to alter it deletes the rows that refer to it.
        """
        engine = new_engine(self.path, migrating=True).execution_options(begin="BEGIN IMMEDIATE")
        with engine.begin() as connection:
            yield connection
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise DatabaseError(
                    f"Migrating {self.path} would leave {len(broken)} rows that refer to nothing, "
                    f"the first in the table {broken[0][0]}. Nothing was changed; please report "
                    "this as a bug of hubkit.",
                    self.path,
                )

    def lock(self, connection: Connection) -> None:
        """Do nothing: BEGIN IMMEDIATE has taken the lock."""

    def keeping_blobs(self) -> AbstractContextManager[None]:
        """Do nothing: there are no other machines."""
        return nullcontext()

    def after_write(self) -> None:
        """Move the write-ahead log into the database where SQLite must not do it itself."""
        if checkpoint_is_due(self.path):
            checkpoint(self.path)

    def is_transient(self, error: BaseException) -> bool:
        """Never: who holds the write lock from the start cannot collide."""
        return False

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether another process has it locked."""
        code = getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

    def translate(self, error: Exception) -> DatabaseError | StorageError:
        """Return the error of hubkit for one of the driver."""
        reason, path = str(error), self.path
        if "locked" in reason or "busy" in reason:
            return DatabaseError(
                f"{path} is in use: another process has been writing to it for more than "
                f"{BUSY_SECONDS} seconds. Try again when it has finished.",
                path,
            )
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT_VTAB:
            return DatabaseError(
                f"The search index in {path} is damaged; nothing else is. `hubkit fsck --full "
                "--repair` makes it anew.",
                path,
            )
        if "not a database" in reason or "malformed" in reason:
            return DatabaseError(
                f"{path} cannot be read as a SQLite database: {reason}. `hubkit rebuild` makes it "
                "anew from blobs and records; `hubkit restore` brings back a backup.",
                path,
            )
        code = getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return StorageError(
                f"Cannot write {path}: {reason}. Free some disk space, or raise the file size "
                "limit (ulimit -f), and run it again.",
                path,
            )
        if path.is_dir():
            return StorageError(
                f"{path} is a folder, but a registry's database is a file. Move it away; `hubkit "
                "rebuild` makes a database from blobs and records.",
                path,
            )
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            return StorageError(
                f"Cannot open {path}: {reason}. Check its owner and permissions.", path
            )
        if "no such table" in reason or "no such column" in reason:
            return DatabaseError(
                f"{path} is damaged: {reason}. `hubkit rebuild` makes it anew from blobs and "
                "records; `hubkit restore` brings back a backup.",
                path,
            )
        return DatabaseError(
            f"The database {path} refused a statement: {reason}. Please report this as a bug of "
            "hubkit.",
            path,
        )


def copy_database(source: Path, target: Path) -> None:
    """Write a database, as it is at this moment, to a new file that needs no other beside it.

    Raises:
        DatabaseError: `source` cannot be read.
        StorageError: `target` cannot be written.
    """
    try:
        with (
            closing(connect(source)) as reader,
            closing(sqlite3.connect(target, isolation_level=None)) as writer,
        ):
            if not has_wal_reset_fix(sqlite3.sqlite_version_info):
                reader.execute("PRAGMA wal_autocheckpoint=0")
            writer.execute("PRAGMA synchronous=FULL")
            reader.backup(writer)
            writer.execute("PRAGMA journal_mode=delete")
    except sqlite3.Error as error:
        raise Sqlite(source).translate(error) from error
