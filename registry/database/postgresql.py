"""The database of a registry as a schema of a PostgreSQL server."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from registry.errors import DatabaseError, StorageError

LOCK_SECONDS = 10
"""How long a statement waits for what another transaction has locked."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SERIALIZATION_FAILURE, _DEADLOCK = "40001", "40P01"
_LOCK_NOT_AVAILABLE = "55P03"
_NO_SPACE = {"53100", "53200"}
_NOT_THERE = {"42P01", "42703"}
_NO_PERMISSION = {"42501", "25006"}
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('hubkit ' || current_schema(), 0))"
_COLLECTION_LOCK = "SELECT pg_advisory_lock(hashtextextended('hubkit gc ' || current_schema(), 0))"
_NO_LIMITS = (  # the last of these is new in PostgreSQL 14
    "SELECT set_config(name, '0', false) FROM pg_settings"
    " WHERE name IN ('lock_timeout', 'statement_timeout', 'idle_session_timeout')"
)


class Postgresql:
    """What is particular to PostgreSQL; `registry.database.backend` says what each part is.

    Args:
        url: ``postgresql://[user[:password]@]host[:port]/database[?options]``, as libpq takes it.

    Raises:
        DatabaseError: `url` is malformed, or the driver is not installed.
    """

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        parsed = _parse(url)
        self.label = parsed.render_as_string(hide_password=True)
        try:
            self.engine = create_engine(
                parsed.set(drivername="postgresql+psycopg"), max_overflow=-1, pool_pre_ping=True
            )
        except ModuleNotFoundError as error:
            raise DatabaseError(
                f"{self.label} needs the PostgreSQL driver, which is not installed. "
                "Run: pip install 'hubkit[postgres]'",
                self.label,
            ) from error
        self.driver_error: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        self.reading_engine: Engine = self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        self.writing_engine: Engine = self.engine

        @event.listens_for(self.engine, "connect")
        def configure(connection: Any, record: object) -> None:
            connection.execute(f"SET lock_timeout = {LOCK_SECONDS * 1000}")
            connection.commit()

    def exists(self) -> bool:
        """Whether connecting would change nothing: always."""
        return True

    def is_prepared(self, connection: Connection) -> bool:
        """Whether everything beside the tables is as it should be: always."""
        return True

    def table_names(self, connection: Connection) -> set[str]:
        """Return the names of all tables of the schema that is in use."""
        return set(
            connection.exec_driver_sql(
                "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
            ).scalars()
        )

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Do nothing: `migrating` holds the lock."""
        yield

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that no other migration runs beside."""
        with self.engine.begin() as connection:
            self.lock(connection)
            yield connection

    def lock(self, connection: Connection) -> None:
        """Wait for the lock that every writer of this schema holds until its transaction ends."""
        connection.exec_driver_sql(_LOCK)

    @contextmanager
    def keeping_blobs(self) -> Iterator[None]:
        """Hold a lock of this schema, for which others wait however long it takes."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.detach()  # closed at the end, not kept: that gives the lock back, too
            connection.exec_driver_sql(_NO_LIMITS)
            connection.exec_driver_sql(_COLLECTION_LOCK)
            yield
            connection.exec_driver_sql("SELECT 1")  # fails if the lock was lost on the way

    def after_write(self) -> None:
        """Do nothing: the server looks after itself."""

    def is_transient(self, error: BaseException) -> bool:
        """Whether the same transaction, run again, can succeed."""
        return _state(error) in (_SERIALIZATION_FAILURE, _DEADLOCK)

    def is_unavailable(self, error: BaseException) -> bool:
        """Whether the server cannot be reached, or a lock is not to be had."""
        return _state(error) in (None, _LOCK_NOT_AVAILABLE)

    def set_aside(self, connection: Connection, tables: Collection[str], schema: str) -> str | None:
        """Move tables to a new schema; return what to call it, or None if there are none."""
        found = sorted(self.table_names(connection) & set(tables))
        if not found:
            return None
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        for table in found:
            connection.exec_driver_sql(f"ALTER TABLE {table} SET SCHEMA {schema}")
        return f"the schema {schema} of {self.label}"

    def translate(self, error: Exception) -> DatabaseError | StorageError:
        """Return the error of hubkit for one of the driver."""
        state, reason = _state(error), _sentences(str(error))
        if state is None:
            return DatabaseError(
                f"Cannot use {self.label}: {reason} Check that the server runs, and the URL.",
                self.label,
            )
        if state == _LOCK_NOT_AVAILABLE:
            return DatabaseError(
                f"{self.label} is in use: another process has been writing to it for more than "
                f"{LOCK_SECONDS} seconds. Try again when it has finished.",
                self.label,
            )
        if state in _NO_SPACE:
            return StorageError(
                f"Cannot write to {self.label}: {reason} Free some space on the server.",
                self.label,
            )
        if state in _NO_PERMISSION:
            return StorageError(
                f"Cannot write to {self.label}: {reason} Check what this user may do there.",
                self.label,
            )
        if state in _NOT_THERE:
            return DatabaseError(
                f"{self.label} is damaged: {reason} `hubkit rebuild` makes its tables anew from "
                "blobs and records; `hubkit restore` brings back a backup.",
                self.label,
            )
        return DatabaseError(
            f"The database {self.label} refused a statement: {reason} Please report this as a "
            "bug of hubkit.",
            self.label,
        )


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise DatabaseError(
            "The database's URL cannot be read: expected postgresql://user@host/database. "
            "Check HUBKIT_DATABASE_URL.",
        ) from error
    if parsed.drivername not in ("postgresql", "postgres"):
        raise DatabaseError(
            f"A registry's database is a SQLite file in its folder, or postgresql://..., not "
            f"{parsed.drivername}://... Check HUBKIT_DATABASE_URL.",
            parsed.drivername,
        )
    return parsed


def _state(error: BaseException | None) -> str | None:
    return getattr(error, "sqlstate", None)


def _sentences(text: str) -> str:
    """Return what a driver says in lines as one, with a stop where a line has none."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return " ".join(line if line[-1] in ".?!:" else f"{line}." for line in lines if line)
