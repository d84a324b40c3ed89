"""The database of a registry as a schema of a PostgreSQL server."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from registry.database.backend import UNEXPECTED, Refusal
from registry.errors import (
    BusyDatabaseError,
    DamagedDatabaseError,
    DatabaseError,
    HubkitError,
    InvalidNameError,
    StorageError,
    UnreachableDatabaseError,
)

LOCK_SECONDS = 10
"""Seconds that a statement waits for rows that another transaction has locked."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SERIALIZATION_FAILURE, _DEADLOCK = "40001", "40P01"
_LOCK_NOT_AVAILABLE = "55P03"
_ENDED: Refusal = (
    UnreachableDatabaseError,
    "{label} ended the connection: {reason} What was under way is undone, unless it was being "
    "confirmed at that moment. Try again once the server runs.",
)
_NOT_REACHED: Refusal = (
    UnreachableDatabaseError,
    "Cannot use {label}: {reason} Check that the server runs, and the URL.",
)
_NOT_ALLOWED: Refusal = (
    StorageError,
    "Cannot write to {label}: {reason} Check the rights of this user there.",
)
_NO_SPACE: Refusal = (
    StorageError,
    "Cannot write to {label}: {reason} Free some space on the server.",
)
_TOO_BUSY: Refusal = (BusyDatabaseError, "{label} is too busy: {reason} Try again later.")
_DAMAGED: Refusal = (DamagedDatabaseError, "{label} is damaged: {reason}")
_NO_VALUE: Refusal = (InvalidNameError, "{label} cannot hold a value that it was given: {reason}")
# The meaning of a server's errors, by SQLSTATE; a whole one comes before its class, which is its
# first two characters.
_REFUSALS: Mapping[str, Refusal] = {
    _LOCK_NOT_AVAILABLE: (
        BusyDatabaseError,
        "{label} is in use: another process has been writing to it for more than "
        f"{LOCK_SECONDS} seconds. Try again when it has finished.",
    ),
    "08": _ENDED,
    "57": _ENDED,  # by an administrator, a crash or a shutdown
    "57014": _TOO_BUSY,  # a statement ran out of time, or was cancelled
    "25P03": _ENDED,  # a transaction was idle for too long
    "25P04": _ENDED,  # a transaction took too long
    "28": _NOT_REACHED,
    "3D": _NOT_REACHED,
    "40": _TOO_BUSY,
    "53": _TOO_BUSY,
    "53100": _NO_SPACE,
    "53200": _NO_SPACE,
    "58": _NO_SPACE,
    "42501": _NOT_ALLOWED,
    "25006": _NOT_ALLOWED,
    "42P01": _DAMAGED,
    "42703": _DAMAGED,
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
    "22001": _NO_VALUE,  # too long
    "22003": _NO_VALUE,  # too large
    "22008": _NO_VALUE,  # too long ago, or too far ahead
    "22021": _NO_VALUE,  # no text in the database's encoding
    "22P05": _NO_VALUE,
    "54": _NO_VALUE,
}
_OF_THE_DRIVER: Mapping[str, Refusal] = {
    "DataError": _NO_VALUE,
    "OperationalError": _NOT_REACHED,
    "InterfaceError": _NOT_REACHED,
}
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
        """Whether the database is right apart from its tables: always."""
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
        """Yield a connection in a transaction; no other migration runs meanwhile."""
        with self.engine.begin() as connection:
            self.lock(connection)
            yield connection

    def journal(self, connection: Connection) -> str | None:
        """Return None: the server cares for its journal."""
        return None

    def lock(self, connection: Connection) -> None:
        """Wait for the lock that every writer of this schema holds until its transaction ends."""
        connection.exec_driver_sql(_LOCK)

    @contextmanager
    def keeping_blobs(self) -> Iterator[None]:
        """Hold a lock of this schema; other processes wait for it without a limit."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.detach()  # closed at the end, not kept: that also releases the lock
            connection.exec_driver_sql(_NO_LIMITS)
            connection.exec_driver_sql(_COLLECTION_LOCK)
            yield
            connection.exec_driver_sql("SELECT 1")  # fails if the lock was lost meanwhile

    def after_write(self) -> None:
        """Do nothing: the server needs no help."""

    def is_transient(self, error: BaseException) -> bool:
        """Whether the same transaction, run again, can succeed."""
        return _state(error) in (_SERIALIZATION_FAILURE, _DEADLOCK)

    def set_aside(self, connection: Connection, tables: Collection[str], schema: str) -> str | None:
        """Move tables to a new schema; return its name for messages, None without tables."""
        found = sorted(self.table_names(connection) & set(tables))
        if not found:
            return None
        connection.exec_driver_sql(f"CREATE SCHEMA {schema}")
        for table in found:
            connection.exec_driver_sql(f"ALTER TABLE {table} SET SCHEMA {schema}")
        return f"the schema {schema} of {self.label}"

    def translate(self, error: Exception) -> HubkitError:
        """Return the error of hubkit for one of the driver."""
        kind, text = _refusal(error)
        return kind(text.format(label=self.label, reason=_sentences(str(error))), self.label)


def _refusal(error: Exception) -> Refusal:
    state = _state(error)
    if state is not None:
        return _REFUSALS.get(state) or _REFUSALS.get(state[:2]) or UNEXPECTED
    for kind in type(error).__mro__:  # errors that the driver itself raises
        if kind.__name__ in _OF_THE_DRIVER:
            return _OF_THE_DRIVER[kind.__name__]
    return UNEXPECTED


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
    """Return the lines of a driver's text as one, with a full stop after each."""
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return " ".join(line if line[-1] in ".?!:" else f"{line}." for line in lines if line)
