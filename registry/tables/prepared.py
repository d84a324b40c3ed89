"""Statements given to the driver as they are: SQLAlchemy's execution costs more than SQLite's."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any, TypeAlias

from sqlalchemy import Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.sql.expression import CompoundSelect

Statement: TypeAlias = "Select[Any] | CompoundSelect[Any] | Insert | Update | Delete"


class Prepared:
    """A statement that is compiled once for each kind of database.

    Values are converted as SQLAlchemy would, but rows are as the driver returns them: SQLite knows
    neither times nor truth values.

    Args:
        statement: With a bind parameter for each value that differs between calls.
        columns: Of an insertion: the columns that get values; default: all.
    """

    def __init__(self, statement: Statement, columns: Iterable[str] | None = None) -> None:
        """Compile nothing yet."""
        self._statement = statement
        self._columns = None if columns is None else [*columns]
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, connection: Connection, **values: Any) -> list[tuple[Any, ...]]:
        """Execute it with these values and return all rows; raises what the driver raises."""
        compiled = self._for(connection.dialect)
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute(compiled.text, compiled.parameters(values))
            return [] if cursor.description is None else list(cursor.fetchall())

    def each(self, connection: Connection, values: Iterable[Mapping[str, Any]]) -> None:
        """Execute it once for each set of values; raises what the driver raises."""
        compiled = self._for(connection.dialect)
        if parameters := [compiled.parameters(some) for some in values]:
            with closing(connection.connection.cursor()) as cursor:
                cursor.executemany(compiled.text, parameters)

    def _for(self, dialect: Dialect) -> "_Compiled":
        if dialect.name not in self._compiled:
            self._compiled[dialect.name] = _Compiled(self._statement, self._columns, dialect)
        return self._compiled[dialect.name]


class _Compiled:
    """The text of a statement for one kind of database, and how it takes its values."""

    def __init__(self, statement: Statement, columns: list[str] | None, dialect: Dialect) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=columns)
        self.text = str(compiled)
        self._constants = dict(compiled.params)
        self._order = list(compiled.positiontup or ()) if compiled.positional else None
        self._converters: dict[str, Callable[[Any], Any]] = {
            name: convert
            for name, bind in compiled.binds.items()
            if (convert := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
        }

    def parameters(self, values: Mapping[str, Any]) -> Any:
        named = {**self._constants, **values}
        for name, convert in self._converters.items():
            named[name] = convert(named[name])
        return named if self._order is None else [named[name] for name in self._order]
