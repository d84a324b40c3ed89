"""The SQLite database of a registry: connections, transactions, upgrade."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from registry.errors import DatabaseError, NewerDatabaseError, StorageError
from registry.storage.durable import storage_errors
from registry.tables.journal import (
    checkpoint,
    checkpoint_is_due,
    has_wal_reset_fix,
    journal_mode,
)

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "hubkit_version"
"""Where Alembic notes which migration the database is at."""

TEXT_TABLE = "revision_text"
"""The full-text index, which only its migration and `registry.search` know."""

BUSY_SECONDS = 10
"""How long a statement waits for another process to finish writing."""


class Database:
    """The database of one registry.

    Args:
        path: The SQLite file; its folder must exist before `upgrade`.

    Every method raises:
        DatabaseError: The file is no database, or stays locked for `BUSY_SECONDS`.
        StorageError: The disk is full, or the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self.path = path
        self._engine = _engine(path, foreign_keys=True)
        self._writing_engine = self._engine.execution_options(begin="BEGIN IMMEDIATE")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session that sees one unchanging state of the database."""
        with self._errors(), Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Yield a session in a write transaction: committed at the end, undone on any error.

        The transaction takes the write lock at once (BEGIN IMMEDIATE). One that reads first and
        asks for the lock later fails without waiting when another process wrote in between.
        """
        with self._errors(), Session(self._writing_engine) as session, session.begin():
            session.connection()  # else the lock is taken by whichever statement comes first
            yield session
        if checkpoint_is_due(self.path):
            checkpoint(self.path)

    def upgrade(self) -> None:
        """Create the tables, or bring them to the newest migration; cheap when they are there.

        All migrations that are due run in one transaction, so a failed one leaves the database
        as it was. Two processes may do this at once: the second finds nothing left to do.

        Raises:
            NewerDatabaseError: A newer hubkit has upgraded this database.
        """
        if self.path.exists() and self._is_current():
            return
        from alembic import command
        from filelock import FileLock

        lock = self.path.with_name(f"{self.path.name}.lock")
        with storage_errors("lock", lock), FileLock(lock), self._errors():
            if self._is_current():
                return
            self._set_journal_mode()
            with self.migrating() as connection:
                command.upgrade(alembic_config(connection), "head")

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Yield a connection on which migrations can run: one transaction, no foreign keys.

        With foreign keys on, copying a table to alter it deletes the rows that refer to it.
        """
        engine = _engine(self.path, foreign_keys=False).execution_options(begin="BEGIN IMMEDIATE")
        with self._errors(), engine.begin() as connection:
            yield connection
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise DatabaseError(
                    f"Migrating {self.path} would leave {len(broken)} rows that refer to nothing, "
                    f"the first in the table {broken[0][0]}. Nothing was changed; please report "
                    "this as a bug of hubkit.",
                    self.path,
                )

    def _is_current(self) -> bool:
        with self._errors(), self._engine.begin() as connection:
            tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars())
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            if not tables:
                return False
            if VERSION_TABLE not in tables:
                raise DatabaseError(
                    f"{self.path} is a SQLite database, but not one of hubkit's: it has no table "
                    f"{VERSION_TABLE}. Move it away, or choose another HUBKIT_HOME.",
                    self.path,
                )
            row = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").first()
        found = row[0] if row else None
        known = known_revisions()
        if found is not None and found not in known:
            raise NewerDatabaseError(
                f"{self.path} is at migration {found}, but this hubkit only knows up to "
                f"{known[-1]}: a newer hubkit has used it. Upgrade hubkit "
                "(pip install --upgrade hubkit) and try again.",
                self.path,
            )
        return found == known[-1] and mode == journal_mode(self.path)

    def _set_journal_mode(self) -> None:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("ROLLBACK")  # the mode cannot change in a transaction
            connection.exec_driver_sql(f"PRAGMA journal_mode={journal_mode(self.path)}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _translate(error, self.path) from error


def migrations_folder() -> Path:
    """Return the folder of the migrations: beside the package in a checkout, else inside it."""
    package = Path(__file__).parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def known_revisions() -> list[str]:
    """Return the numbers of all migrations, oldest first.

    Read from the file names, because asking Alembic would cost every start a third of a second.
    """
    files = (migrations_folder() / "versions").glob("[0-9]*_*.py")
    return sorted(file.name.partition("_")[0] for file in files)


def alembic_config(connection: Connection) -> "Config":
    """Return Alembic's settings for running migrations on `connection`."""
    from alembic.config import Config

    config = Config(migrations_folder() / "alembic.ini")
    config.attributes["connection"] = connection
    return config


def is_model_table(name: str | None, kind: str, parents: Any) -> bool:
    """Tell Alembic which tables `registry.tables.models` describes: all but the full-text index."""
    return kind != "table" or not (name or "").startswith(TEXT_TABLE)


# Of an extended result code, the part that says what kind of error it is.
_PRIMARY = 0xFF


def _engine(path: Path, *, foreign_keys: bool) -> Engine:
    # No pool: a connection costs 0.2 ms, and one that outlives its transaction would be shared
    # with a forked process, which SQLite forbids.
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, record: object) -> None:
        connection.isolation_level = None  # else sqlite3 decides by itself when to BEGIN
        for pragma in (
            f"busy_timeout={BUSY_SECONDS * 1000}",
            f"foreign_keys={'ON' if foreign_keys else 'OFF'}",
            "synchronous=FULL",
            "trusted_schema=OFF",
            "mmap_size=0",
        ):
            connection.execute(f"PRAGMA {pragma}")
        if not has_wal_reset_fix(sqlite3.sqlite_version_info):
            connection.execute("PRAGMA wal_autocheckpoint=0")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _translate(error: DBAPIError, path: Path) -> DatabaseError | StorageError:
    reason = str(error.orig)
    if "locked" in reason or "busy" in reason:
        return DatabaseError(
            f"{path} is in use: another process has been writing to it for more than "
            f"{BUSY_SECONDS} seconds. Try again when it has finished.",
            path,
        )
    if "not a database" in reason or "malformed" in reason:
        return DatabaseError(
            f"{path} cannot be read as a SQLite database: {reason}. Restore it from a "
            "backup, or move it away to start an empty registry.",
            path,
        )
    code = getattr(error.orig, "sqlite_errorcode", 0) & _PRIMARY
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return StorageError(
            f"Cannot write {path}: {reason}. Free some disk space, or raise the file size limit "
            "(ulimit -f), and run it again.",
            path,
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return StorageError(f"Cannot open {path}: {reason}. Check who may write there.", path)
    return DatabaseError(
        f"The database {path} refused a statement: {reason}. Please report this as a bug of "
        "hubkit.",
        path,
    )
