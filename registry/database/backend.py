"""The protocol of a database, which `registry.database.sqlite` and `.postgresql` have."""

from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from sqlalchemy import Connection, Engine

from registry.errors import DatabaseError, HubkitError

Refusal: TypeAlias = tuple[type[HubkitError], str]
"""The meaning of a driver's error: hubkit's error, and its message with ``{label}`` for the
database and ``{reason}`` for the text of the driver."""

UNEXPECTED: Refusal = (
    DatabaseError,
    "The database {label} refused a statement: {reason} Please report this as a bug of hubkit.",
)


class Backend(Protocol):
    """The differences between the databases, except for the text index.

    Attributes:
        driver_error: The class of its driver's errors.
        label: Its name in messages.
        engine: Keeps connections for the next transaction.
        reading_engine: The same, for transactions that see one state and change nothing.
        writing_engine: The same, for transactions that write.
    """

    driver_error: type[Exception]
    label: str
    engine: Engine
    reading_engine: Engine
    writing_engine: Engine

    def exists(self) -> bool:
        """Whether there is a database; connecting could make an empty one."""

    def is_prepared(self, connection: Connection) -> bool:
        """Whether the database is right apart from its tables, such as its journal."""

    def table_names(self, connection: Connection) -> set[str]:
        """Return the names of all tables."""

    def preparing(self) -> AbstractContextManager[None]:
        """Bring about what `is_prepared` checks, and keep it during the block, for `migrating`."""

    def migrating(self) -> AbstractContextManager[Connection]:
        """Yield a connection in one transaction, in which migrations can run."""

    def journal(self, connection: Connection) -> str | None:
        """Return the name of the journal; None if a server cares for it."""

    def lock(self, connection: Connection) -> None:
        """Keep other writers waiting until the connection's transaction ends."""

    def keeping_blobs(self) -> AbstractContextManager[None]:
        """Keep other machines from collecting garbage; on this machine, a file lock does."""

    def after_write(self) -> None:
        """Finish after a transaction that wrote."""

    def is_transient(self, error: BaseException) -> bool:
        """Whether the same transaction could succeed if it is run again."""

    def translate(self, error: Exception) -> HubkitError:
        """Return the error of hubkit for one of the driver."""
