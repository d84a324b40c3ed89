"""Statements given to the driver as they are: SQLAlchemy's execution costs more than SQLite's."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Self, TypeAlias

from sqlalchemy import Delete, Dialect, Insert, SelectBase, Update
from sqlalchemy.orm import Session

Statement: TypeAlias = SelectBase | Insert | Update | Delete


class Transaction(NamedTuple):
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
        columns: Of an insertion: the columns that get values; default: all.
    """

    def __init__(self, statement: Statement, columns: Iterable[str] | None = None) -> None:
        """Compile nothing yet."""
        self._statement = statement
        self._columns = None if columns is None else [*columns]
        self._compiled: dict[str, _Compiled] = {}

    def rows(self, transaction: Transaction, **values: Any) -> list[tuple[Any, ...]]:
        """Execute it with these values and return all rows; raises what the driver raises."""
        compiled = self._for(transaction.dialect)
        cursor = transaction.driver.execute(compiled.text, compiled.parameters(values))
        return [] if cursor.description is None else cursor.fetchall()

    def each(self, transaction: Transaction, values: Iterable[Mapping[str, Any]]) -> None:
        """Execute it once for each set of values; raises what the driver raises."""
        compiled = self._for(transaction.dialect)
        if parameters := [compiled.parameters(some) for some in values]:
            transaction.driver.cursor().executemany(compiled.text, parameters)

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
