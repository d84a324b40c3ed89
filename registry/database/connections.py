"""Open a SQLite file, and wait for its write lock."""

import os
import random
import sqlite3
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from registry.database.journal import CHECKPOINT_BYTES, has_wal_reset_fix, log_path
from registry.errors import DamagedDatabaseError, ReplacedDatabaseError
from registry.storage.files import leave_to_sqlite

BUSY_SECONDS = 10
"""How long a statement waits for another process to finish writing."""

PRIMARY_CODE = 0xFF
"""The bits of the kind of error, in an extended result code."""


def connect(path: Path) -> sqlite3.Connection:
    """Connect; read-only if the file cannot be written."""
    # A pool gives a connection to one thread after another, never to two at once.
    if not can_only_be_read(path):
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False)
        leave_to_sqlite(path)
        return connection
    # SQLite reads a WAL database only if it can make a file beside it, or if it may assume that no
    # process writes. If another user's process writes there, a log exists.
    unchanging = "" if log_path(path).exists() else "&immutable=1"
    place = f"{path.absolute().as_uri()}?mode=ro{unchanging}"
    connection = sqlite3.connect(place, timeout=BUSY_SECONDS, check_same_thread=False, uri=True)
    leave_to_sqlite(path)
    return connection


def can_only_be_read(path: Path) -> bool:
    """Whether there is a database in a folder, or on a file system, that cannot be written."""
    return path.exists() and not os.access(path.parent, os.W_OK)


def new_engine(path: Path, *, migrating: bool = False) -> Engine:
    """An engine whose connections are set up for durable writes and quick reads.

    Args:
        migrating: Without foreign keys, and without a pool.
    """
    engine = create_engine(
        "sqlite://",
        creator=lambda: connect(path),
        # To open a connection takes ten times as long as a lookup.
        **({"poolclass": NullPool} if migrating else {"poolclass": QueuePool, "max_overflow": -1}),
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
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
        # The log's file is cut to this size when it starts again, so that its size shows its fill.
        connection.execute(f"PRAGMA journal_size_limit={CHECKPOINT_BYTES // 4}")

        record.info["file"] = _identity(path)

    @event.listens_for(engine, "checkout")
    def check(driver: object, record: ConnectionPoolEntry, fairy: object) -> None:
        # A kept connection may be to a file that was replaced, for example by a rebuild.
        found = _identity(path)
        if found is None:
            raise DamagedDatabaseError(f"{path} is gone: expected the database there.", path)
        if record.info["file"] != found:
            raise DisconnectionError  # and the pool connects again

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get("begin", "BEGIN")
        if statement == "BEGIN":
            # It takes no lock yet, so it cannot fail.
            connection.connection.cursor().execute(statement)
        else:
            _begin_writing(connection, statement)
            if connection.connection.info["file"] != _identity(path):
                connection.exec_driver_sql("ROLLBACK")
                raise ReplacedDatabaseError(
                    f"{path} was replaced by another process. Nothing was changed: do it again.",
                    path,
                )

    return engine


def _identity(path: Path) -> tuple[int, int] | None:
    """Return the identity of a file, which its name is not; None if there is none."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _begin_writing(connection: Connection, statement: str) -> None:
    """Take the write lock; try every few milliseconds.

    SQLite itself asks less and less often, down to ten times a second. If many processes want the
    lock, it is then free for most of the time. Here, a process asks more often the longer it has
    waited, so that none waits until its time is up.
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
                if error.sqlite_errorcode & PRIMARY_CODE != sqlite3.SQLITE_BUSY:
                    break
            time.sleep(random.uniform(0.001, 0.006) / (1 + 2 * waited))
        connection.exec_driver_sql(statement)  # for its error, as SQLAlchemy wraps it
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
