"""What a database must offer; `registry.database.sqlite` and `.postgresql` do."""

from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from sqlalchemy import Connection, Engine

from registry.errors import DatabaseError, HubkitError

Refusal: TypeAlias = tuple[type[HubkitError], str]
"""What a refusal of a database means: hubkit's error, and its message with ``{label}`` for the
database and ``{reason}`` for what the driver says."""

UNEXPECTED: Refusal = (
    DatabaseError,
    "The database {label} refused a statement: {reason} Please report this as a bug of hubkit.",
)


class Backend(Protocol):
    """What differs between the databases, except for the text index.

    Attributes:
        driver_error: What its driver raises.
        label: What messages call the database.
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
        """Whether there is a database, so that connecting does not make an empty one."""

    def is_prepared(self, connection: Connection) -> bool:
        """Whether what is not in the tables, such as the journal, is as it should be."""

    def table_names(self, connection: Connection) -> set[str]:
        """Return the names of all tables."""

    def preparing(self) -> AbstractContextManager[None]:
        """Prepare what `is_prepared` asks for, and stay ready for `migrating`."""

    def migrating(self) -> AbstractContextManager[Connection]:
        """Yield a connection in one transaction, in which migrations can run."""

    def journal(self, connection: Connection) -> str | None:
        """Return the journal that is used, for people; None if a server sees to that."""

    def lock(self, connection: Connection) -> None:
        """Keep other writers waiting until the connection's transaction ends."""

    def keeping_blobs(self) -> AbstractContextManager[None]:
        """Keep other machines from collecting garbage; a file lock does that on this one."""

    def after_write(self) -> None:
        """Do what is due after a transaction that wrote."""

    def is_transient(self, error: BaseException) -> bool:
        """Whether the transaction, run again, can succeed."""

    def translate(self, error: Exception) -> HubkitError:
        """Return the error of hubkit for one of the driver."""
