"""The database of a registry: transactions and upgrades, on SQLite or PostgreSQL."""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Pool
from sqlalchemy.exc import DBAPIError

from registry.database.backend import Backend
from registry.database.sqlite import Sqlite
from registry.errors import DatabaseError, NewerDatabaseError, ReplacedDatabaseError

if TYPE_CHECKING:
    from alembic.config import Config

VERSION_TABLE = "hubkit_version"
"""The table of Alembic with the migration of the database."""

TEXT_TABLE = "revision_text"
"""The full-text index. Only its migrations and `registry.tables.text_index` know what is in it."""

_MOST_TRIES = 8
_FIRST_PAUSE = 0.01

_AFTER_COMMIT = "after commit"

Result = TypeVar("Result")


def after_commit(connection: Connection, call: Callable[[], None]) -> None:
    """Call a function right after the commit of a transaction of `Database.write`."""
    connection.info[_AFTER_COMMIT].append(call)


class Database:
    """The database of one registry.

    Args:
        where: The SQLite file, whose folder must exist before `upgrade`, or a PostgreSQL URL.

    Every method raises:
        DatabaseError: It is no database or cannot be reached, or stays locked for ten seconds.
        StorageError: The disk is full, or the database cannot be written.
    """

    def __init__(self, where: Path | str) -> None:
        """Open nothing yet."""
        self.backend = _backend(where)
        _DATABASES.add(self)

    @property
    def path(self) -> Path:
        """The SQLite file.

        Raises:
            DatabaseError: The database is on a server.
        """
        if isinstance(self.backend, Sqlite):
            return self.backend.path
        raise DatabaseError(
            f"{self.backend.label} is not a file: use the tools of PostgreSQL, such as pg_dump.",
            self.backend.label,
        )

    def exists(self) -> bool:
        """Whether there is a database, of hubkit or not."""
        return self.backend.exists() and self.migration() is not None

    def close(self) -> None:
        """Close the connections that are kept for the next transaction."""
        self.backend.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one unchanging state of the database."""
        with self._errors(), self.backend.reading_engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a write transaction: committed at the end, undone on any error.

        One process writes at a time: entries of the log follow each other, and no bytes are
        published while they are collected as garbage.
        """
        calls: list[Callable[[], None]] = []
        with self._errors(), self.backend.writing_engine.begin() as connection:
            connection.info[_AFTER_COMMIT] = calls
            self.backend.lock(connection)
            yield connection
        for call in calls:
            call()
        self.backend.after_write()

    def transact(self, work: Callable[[Connection], Result]) -> Result:
        """Run `work` in a write transaction, and again if it collided with another one.

        Args:
            work: Uses its connection, and has no other effect: it may be called several times.
        """
        pause = _FIRST_PAUSE
        for _ in range(_MOST_TRIES - 1):
            try:
                with self.write() as connection:
                    return work(connection)
            except DatabaseError as error:
                if not self._is_transient(error):
                    raise
                time.sleep(random.uniform(0, pause))
                pause *= 2
        with self.write() as connection:
            return work(connection)

    def upgrade(self) -> bool:
        """Create the tables, or bring them to the newest migration; cheap when they are there.

        Returns whether there was anything to do.

        All migrations that are due run in one transaction, so a failed one leaves the database
        as it was. Two processes may do this at once: the second finds nothing left to do.

        Raises:
            NewerDatabaseError: A newer hubkit has upgraded this database.
        """
        if self.backend.exists() and self.is_current():
            return False
        from alembic import command

        with self._errors(), self.backend.preparing():
            if self.is_current():
                return False
            with self.backend.migrating() as connection:
                command.upgrade(alembic_config(connection), "head")
        return True

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Yield a connection on which migrations can run, in one transaction."""
        with self._errors(), self.backend.migrating() as connection:
            yield connection

    @contextmanager
    def keeping_blobs(self) -> Iterator[None]:
        """Keep other machines that share the database from collecting garbage during the block."""
        with self._errors(), self.backend.keeping_blobs():
            yield

    def migration(self) -> str | None:
        """Return the number of the migration the database is at; None if it is empty.

        Raises:
            DatabaseError: It has tables that are not hubkit's.
        """
        with self.read() as connection:
            return self._migration(connection)

    def is_current(self) -> bool:
        """Whether nothing is left for `upgrade` to do.

        Raises:
            NewerDatabaseError: A newer hubkit has upgraded this database.
        """
        with self.read() as connection:
            found = self._migration(connection)
            prepared = self.backend.is_prepared(connection)
        known = known_revisions()
        if found is not None and found not in known:
            label = self.backend.label
            raise NewerDatabaseError(
                f"{label} is at migration {found}, but this hubkit only knows up to {known[-1]}: "
                "a newer hubkit has used it. Upgrade hubkit and try again.",
                label,
            )
        return found == known[-1] and prepared

    def _migration(self, connection: Connection) -> str | None:
        tables = self.backend.table_names(connection)
        if not tables:
            return None
        if VERSION_TABLE not in tables:
            label = self.backend.label
            raise DatabaseError(
                f"{label} is a database, but not one of hubkit's: it has tables, and no "
                f"{VERSION_TABLE} among them. Choose an empty one, or another HUBKIT_HOME.",
                label,
            )
        row = connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").first()
        return row[0] if row else None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn the driver's errors in the block into hubkit's."""
        try:
            yield
        except DBAPIError as error:
            # The driver's error is the cause; SQLAlchemy's repeats it with the statement.
            cause = error.orig if isinstance(error.orig, Exception) else error
            raise self.backend.translate(cause) from cause
        except self.backend.driver_error as error:
            raise self.backend.translate(error) from error

    def _is_transient(self, error: DatabaseError) -> bool:
        if isinstance(error, ReplacedDatabaseError):
            return True
        return error.__cause__ is not None and self.backend.is_transient(error.__cause__)


def _backend(where: Path | str) -> Backend:
    if isinstance(where, Path):
        return Sqlite(where)
    from registry.database.postgresql import Postgresql

    return Postgresql(where)


_DATABASES: WeakSet[Database] = WeakSet()
_INHERITED: list[Pool] = []


def _forget_connections() -> None:
    # A connection must not be shared with a forked process, nor closed by it.
    for database in _DATABASES:
        engine = database.backend.engine
        _INHERITED.append(engine.pool)
        engine.dispose(close=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_connections)


def migrations_folder() -> Path:
    """Return the folder of the migrations: beside the package in a checkout, else inside it."""
    package = Path(__file__).parents[1]
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"


def known_revisions() -> list[str]:
    """Return the numbers of all migrations, oldest first.

    They are read from the file names: Alembic would take a third of a second at every start.
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
