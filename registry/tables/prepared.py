"""Statements given to the driver as they are, for lookups quicker than SQLAlchemy's execution."""

from contextlib import closing
from typing import Any

from sqlalchemy import Connection, Dialect, Select
from sqlalchemy.sql.expression import CompoundSelect


class Prepared:
    """A statement that is compiled once for each kind of database.

    Its rows are as the driver returns them: SQLite knows neither times nor truth values.

    Args:
        statement: With a bind parameter for each value that differs between calls.
    """

    def __init__(self, statement: "Select[Any] | CompoundSelect[Any]") -> None:
        """Compile nothing yet."""
        self._statement = statement
        self._compiled: dict[str, tuple[str, dict[str, Any], list[str] | None]] = {}

    def rows(self, connection: Connection, **values: Any) -> list[tuple[Any, ...]]:
        """Execute it with these values and return all rows; raises what the driver raises."""
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            self._compile(dialect)
        text, constants, order = self._compiled[dialect.name]
        named = constants | values
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(text, named if order is None else [named[name] for name in order])
            return list(cursor.fetchall())

    def _compile(self, dialect: Dialect) -> None:
        compiled = self._statement.compile(dialect=dialect)
        order = list(compiled.positiontup or ()) if compiled.positional else None
        self._compiled[dialect.name] = str(compiled), dict(compiled.params), order
