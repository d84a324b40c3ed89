"""The database of a registry as a SQLite file."""

import os
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    NullPool,
    PoolProxiedConnection,
    QueuePool,
    create_engine,
    event,
)

from registry.errors import DatabaseError, StorageError
from registry.storage.durable import storage_errors
from registry.tables.journal import (
    CHECKPOINT_BYTES,
    checkpoint,
    checkpoint_is_due,
    has_wal_reset_fix,
    journal_mode,
    log_path,
)

BUSY_SECONDS = 10
"""How long a statement waits for another process to finish writing."""

# Of an extended result code, the part that says what kind of error it is.
_PRIMARY = 0xFF


class Sqlite:
    """What is particular to SQLite; `registry.tables.backend.Backend` says what each part is for.

    Args:
        path: The file.
    """

    driver_error: type[Exception] = sqlite3.Error

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self.path = path
        self.label = str(path)
        self.engine = _engine(path)
        self.reading_engine: Engine = self.engine
        self._kept: list[PoolProxiedConnection] = []
        # A transaction that reads first and asks for the write lock later fails without waiting
        # when another process wrote in between.
        self.writing_engine: Engine = self.engine.execution_options(begin="BEGIN IMMEDIATE")

    def exists(self) -> bool:
        """Whether there is a file; connecting would make one."""
        with storage_errors("read", self.path):
            return self.path.exists()

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Yield the driver's connection in a transaction."""
        # Kept apart: to take one from the pool and give it back costs as much as a lookup.
        try:
            kept = self._kept.pop()
        except IndexError:
            kept = self.engine.raw_connection()
        driver = kept.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        try:
            driver.execute("BEGIN")
            yield driver
            driver.rollback()
        except BaseException:
            kept.close()
            raise
        self._kept.append(kept)

    def forget(self) -> list[PoolProxiedConnection]:
        """Give up the connections that are kept for the next lookup, and return them."""
        kept, self._kept = self._kept, []
        return kept

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
        engine = _engine(self.path, migrating=True).execution_options(begin="BEGIN IMMEDIATE")
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
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
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
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
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
            closing(_connect(source)) as reader,
            closing(sqlite3.connect(target, isolation_level=None)) as writer,
        ):
            if not has_wal_reset_fix(sqlite3.sqlite_version_info):
                reader.execute("PRAGMA wal_autocheckpoint=0")
            writer.execute("PRAGMA synchronous=FULL")
            reader.backup(writer)
            writer.execute("PRAGMA journal_mode=delete")
    except sqlite3.Error as error:
        raise Sqlite(source).translate(error) from error


def _connect(path: Path) -> sqlite3.Connection:
    # A pool hands a connection from one thread to the next, never to two at once.
    if not can_only_be_read(path):
        return sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
    # SQLite reads a WAL database only where it can make a file beside it, or if it may rely on
    # nobody writing. Somebody may, in the folder of another user; but then there is a log.
    unchanging = "" if log_path(path).exists() else "&immutable=1"
    place = f"{path.absolute().as_uri()}?mode=ro{unchanging}"
    return sqlite3.connect(place, timeout=BUSY_SECONDS, check_same_thread=False, uri=True)


def can_only_be_read(path: Path) -> bool:
    """Whether there is a database in a folder, or on a file system, that cannot be written."""
    return path.exists() and not os.access(path.parent, os.W_OK)


def _engine(path: Path, *, migrating: bool = False) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(path),
        # Opening a connection costs ten times what a lookup does.
        **({"poolclass": NullPool} if migrating else {"poolclass": QueuePool, "max_overflow": -1}),
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # else sqlite3 decides by itself when to BEGIN
        for pragma in (
            f"busy_timeout={BUSY_SECONDS * 1000}",
            f"foreign_keys={'OFF' if migrating else 'ON'}",
            "synchronous=FULL",
            "trusted_schema=OFF",
            "mmap_size=0",
            "cache_size=-32768",  # KiB: with 2 MiB, a page of a million reads the disk again
        ):
            connection.execute(f"PRAGMA {pragma}")
        if not has_wal_reset_fix(sqlite3.sqlite_version_info):
            connection.execute("PRAGMA wal_autocheckpoint=0")
        # The log's file is cut to this when it starts anew, so that its size tells how full it is.
        connection.execute(f"PRAGMA journal_size_limit={CHECKPOINT_BYTES // 4}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get("begin", "BEGIN")
        if statement == "BEGIN":
            # Past SQLAlchemy, to which a statement costs more than a lookup does to SQLite. It
            # takes no lock yet, so it cannot fail.
            connection.connection.cursor().execute(statement)
        else:
            _begin_writing(connection, statement)

    return engine


def _begin_writing(connection: Connection, statement: str) -> None:
    """Take the write lock, asking every few milliseconds.

    SQLite itself asks less and less often, up to ten times a second, and so leaves the lock unused
    for most of the time when many processes want it. Here, who has waited for longer asks more
    often, lest chance leave it waiting until the time is up.
    """
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    start = time.monotonic()
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while (waited := time.monotonic() - start) < BUSY_SECONDS:
            try:
                driver.execute(statement)
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY:
                    break
            time.sleep(random.uniform(0.001, 0.006) / (1 + 2 * waited))
        connection.exec_driver_sql(statement)  # for its error, as SQLAlchemy wraps it
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
