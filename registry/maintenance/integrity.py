"""Checks of the tables alone: what is missing, and which values have a wrong type."""

from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Integer,
    Select,
    String,
    Table,
    and_,
    case,
    func,
    inspect,
    or_,
    select,
    text,
    type_coerce,
)

from registry.database.database import TEXT_TABLE, VERSION_TABLE
from registry.tables.column_types import Real, Truth, UtcDateTime, Whole
from registry.tables.models import (
    LOG_HEAD,
    METADATA,
)

_MOST = 10
_A_TIME = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9].[0-9]*"


def table_names() -> set[str]:
    """Return the names of all tables that a registry's database has."""
    return {*METADATA.tables, VERSION_TABLE, TEXT_TABLE}


def table_problems(connection: Connection) -> list[str]:
    """Return which tables, columns and rows are missing that all commands need."""
    inspector = inspect(connection)
    missing = table_names() - set(inspector.get_table_names())
    problems = [f"there is no table {name}" for name in sorted(missing)]
    for wanted in METADATA.sorted_tables:
        if wanted.name not in missing:
            found = {column["name"] for column in inspector.get_columns(wanted.name)}
            lacking = sorted({column.name for column in wanted.columns} - found)
            problems += [f"the table {wanted.name} has no column {name}" for name in lacking]
    if not problems and connection.scalar(select(func.count()).select_from(LOG_HEAD)) != 1:
        problems.append("the log has lost its head, the one row of the table log_head")
    return problems[:_MOST]


def structure_problems(connection: Connection, *, full: bool = False) -> list[str]:
    """Return the problems of `table_problems`, and those that SQLite finds in its file.

    A server checks its files itself, and refuses rows that refer to nothing, and values of another
    type.

    Args:
        connection: A transaction in the database.
        full: Whether to compare SQLite's indexes with their tables, too, which takes ten times as
            long.
    """
    problems = table_problems(connection)
    if connection.dialect.name == "sqlite":
        check = "integrity_check" if full else "quick_check"
        rows = connection.scalars(text(f"PRAGMA {check}({_MOST})")).all()
        problems += [str(row) for row in rows if row != "ok"]
        broken = connection.execute(text("PRAGMA foreign_key_check")).all()
        problems += [f"row {row[1]} of {row[0]} refers to nothing in {row[2]}" for row in broken]
        if not problems:
            problems = _type_problems(connection)
    return problems[:_MOST]


def _type_problems(connection: Connection) -> list[str]:
    """Return the columns with values of a wrong type, which SQLite allows."""
    problems = []
    for table in METADATA.sorted_tables:
        row = connection.execute(_counts_of_misfits(table)).one()
        problems += [
            f"{count} rows of {table.name} have a value of the wrong type in {name}"
            for name, count in row._mapping.items()
            if count
        ]
    return problems


@cache  # to build them takes longer than to run them on a small registry
def _counts_of_misfits(table: Table) -> Select[Any]:
    fitting = {column.name: or_(column.is_(None), _fits(column)) for column in table.columns}
    counts = (func.sum(case((fits, 0), else_=1)).label(name) for name, fits in fitting.items())
    return select(*counts).select_from(table)


def _fits(column: Column[Any]) -> ColumnElement[bool]:
    storage = func.typeof(column)
    if isinstance(column.type, UtcDateTime):
        day = func.substr(type_coerce(column, String), 1, 10)
        return and_(
            storage == "text",
            type_coerce(column, String).op("GLOB")(_A_TIME),
            day > "0000-99",
            func.date(type_coerce(column, String), "+0 days") == day,
        )
    if isinstance(column.type, Truth):
        return type_coerce(column, Integer).in_((0, 1))
    if isinstance(column.type, Real):
        return storage == "real"
    return storage == ("integer" if isinstance(column.type, Whole) else "text")
