"""The database of a registry as a SQLite file."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path

from sqlalchemy import Connection, Engine

from registry.database.backend import UNEXPECTED, Refusal
from registry.database.connections import (
    BUSY_SECONDS,
    PRIMARY_CODE,
    can_only_be_read,
    connect,
    new_engine,
)
from registry.database.journal import checkpoint, checkpoint_is_due, has_wal_reset_fix, journal_mode
from registry.errors import (
    BusyDatabaseError,
    DamagedDatabaseError,
    DamagedIndexError,
    DatabaseError,
    HubkitError,
    InvalidNameError,
    StorageError,
)
from registry.storage.durable import storage_errors

_IN_USE: Refusal = (
    BusyDatabaseError,
    f"{{label}} is in use: another process has been writing to it for more than {BUSY_SECONDS} "
    "seconds. Try again when it has finished.",
)
_FULL: Refusal = (
    StorageError,
    "Cannot write {label}: {reason} Free some disk space, or raise the file size limit "
    "(ulimit -f), and run it again.",
)
_CLOSED: Refusal = (
    StorageError,
    "Cannot open {label}: {reason} Check its owner and permissions.",
)
# The meaning of SQLite's errors, by result code (https://sqlite.org/rescode.html); an extended code
# comes before its primary one.
_REFUSALS: Mapping[int, Refusal] = {
    sqlite3.SQLITE_BUSY: _IN_USE,
    sqlite3.SQLITE_LOCKED: _IN_USE,
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_IOERR: _FULL,
    sqlite3.SQLITE_READONLY: _CLOSED,
    sqlite3.SQLITE_CANTOPEN: _CLOSED,
    sqlite3.SQLITE_PERM: _CLOSED,
    sqlite3.SQLITE_AUTH: _CLOSED,
    sqlite3.SQLITE_NOMEM: (
        DatabaseError,
        "{label} cannot be used: {reason} Free some memory, and run it again.",
    ),
    sqlite3.SQLITE_TOOBIG: (
        InvalidNameError,
        "{label} cannot hold a text as long as this one: {reason}",
    ),
    sqlite3.SQLITE_CORRUPT_VTAB: (
        DamagedIndexError,
        "The search index in {label} is damaged; nothing else is.",
    ),
    sqlite3.SQLITE_CORRUPT: (DamagedDatabaseError, "{label} is damaged: {reason}"),
    sqlite3.SQLITE_NOTADB: (
        DamagedDatabaseError,
        "{label} cannot be read as a SQLite database: {reason}",
    ),
}


class Sqlite:
    """The parts that are special to SQLite; `registry.database.backend` describes each.

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
        # If a transaction reads first and takes the write lock later, it fails without waiting when
        # another process wrote in between.
        self.writing_engine: Engine = self.engine.execution_options(begin="BEGIN IMMEDIATE")

    def exists(self) -> bool:
        """Whether there is a file; connecting would make an empty one."""
        with storage_errors("read", self.path):
            return self.path.exists()

    def is_prepared(self, connection: Connection) -> bool:
        """Whether the journal is safe here, or cannot be changed."""
        if can_only_be_read(self.path):
            return True
        return self.journal(connection) == journal_mode(self.path)

    def journal(self, connection: Connection) -> str | None:
        """Return the mode of the journal that is used.

        SQLite is asked: to read it in the file's header would be to open the file, and closing that
        takes this process's locks on the database away.
        """
        return connection.exec_driver_sql("PRAGMA journal_mode").scalar()

    def table_names(self, connection: Connection) -> set[str]:
        """Return the names of all tables."""
        return set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Keep other processes from upgrading, and use the safe journal."""
        with self._making():
            with self.engine.connect() as connection:
                if not self.is_prepared(connection):
                    # The mode cannot change in a transaction, nor while another process has one.
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

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from making or writing the file, which the block may move.

        Who waited for it then finds another file at its path, and connects to that one.

        Raises:
            DatabaseError: Another process has been writing for too long.
            StorageError: The folder cannot be written.
        """
        with self._making():
            if self.path.is_file():
                with self._writing():
                    yield
            else:  # no process writes to a folder in its place
                yield

    @contextmanager
    def _making(self) -> Iterator[None]:
        """Keep other processes from making or upgrading the file."""
        from filelock import FileLock

        lock = self.path.with_name(f"{self.path.name}.lock")
        with storage_errors("lock", lock), FileLock(lock):
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with closing(connect(self.path)) as connection:
            connection.isolation_level = None
            try:
                connection.execute("PRAGMA wal_autocheckpoint=0")
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                refused = self.translate(error)
                if isinstance(refused, BusyDatabaseError):
                    raise refused from error
                # It is so damaged that no process can write to it.
            yield

    def lock(self, connection: Connection) -> None:
        """Do nothing: BEGIN IMMEDIATE has taken the lock."""

    def keeping_blobs(self) -> AbstractContextManager[None]:
        """Do nothing: there are no other machines."""
        return nullcontext()

    def after_write(self) -> None:
        """Move the write-ahead log into the database if SQLite must not do it itself."""
        if checkpoint_is_due(self.path):
            checkpoint(self.path)

    def is_transient(self, error: BaseException) -> bool:
        """Never: a transaction that holds the write lock from its start cannot collide."""
        return False

    def translate(self, error: Exception) -> HubkitError:
        """Return the error of hubkit for one of the driver."""
        code, reason = getattr(error, "sqlite_errorcode", 0), str(error)
        if "no such table" in reason or "no such column" in reason:
            code = sqlite3.SQLITE_CORRUPT  # SQLite takes it for a mistake in the statement
        elif code & PRIMARY_CODE == sqlite3.SQLITE_CANTOPEN and self.path.is_dir():
            code, reason = sqlite3.SQLITE_NOTADB, "it is a folder"
        kind, text = _REFUSALS.get(code) or _REFUSALS.get(code & PRIMARY_CODE) or UNEXPECTED
        return kind(text.format(label=self.path, reason=f"{reason}."), self.path)


def copy_database(source: Path, target: Path) -> None:
    """Write a database, as it is now, to a new file that needs no other beside it.

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


def set_journal(path: Path) -> None:
    """Give a database that no other process has open the journal that is safe for its path."""
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA journal_mode={journal_mode(path)}")
    except sqlite3.Error as error:
        raise Sqlite(path).translate(error) from error
