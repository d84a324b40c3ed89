"""Statements given to the driver as they are, for lookups quicker than SQLAlchemy's execution."""

from typing import Any, NamedTuple, Self

from sqlalchemy import Dialect, SelectBase
from sqlalchemy.orm import Session


class Reading(NamedTuple):
    """A transaction as the driver has it.

    Attributes:
        dialect: Which database it is in.
        driver: The driver's connection.
    """

    dialect: Dialect
    driver: Any

    @classmethod
    def of(cls, session: Session) -> Self:
        """Return the transaction that a session is in."""
        connection = session.connection()
        return cls(connection.dialect, connection.connection.driver_connection)


class Prepared:
    """A statement that is compiled once for each kind of database.

    Its rows are as the driver returns them: SQLite knows neither times nor truth values.

    Args:
        statement: With a bind parameter for each value that differs between calls.
    """

    def __init__(self, statement: SelectBase) -> None:
        """Compile nothing yet."""
        self._statement = statement
        self._compiled: dict[str, tuple[str, dict[str, Any], list[str] | None]] = {}

    def rows(self, reading: Reading, **values: Any) -> list[tuple[Any, ...]]:
        """Execute it with these values and return all rows; raises what the driver raises."""
        dialect, driver = reading
        if dialect.name not in self._compiled:
            self._compile(dialect)
        text, constants, order = self._compiled[dialect.name]
        named = constants | values
        given = named if order is None else [named[name] for name in order]
        rows: list[tuple[Any, ...]] = driver.execute(text, given).fetchall()
        return rows

    def _compile(self, dialect: Dialect) -> None:
        compiled = self._statement.compile(dialect=dialect)
        order = list(compiled.positiontup or ()) if compiled.positional else None
        self._compiled[dialect.name] = str(compiled), dict(compiled.params), order
