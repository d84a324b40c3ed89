"""Whatever somebody writes into a column, reading it gives what the column is for, or says so."""

import sqlite3
from contextlib import closing, suppress

import pytest
from sqlalchemy import Column, Table, select

from registry import Catalog, open_catalog
from registry.errors import DamagedDatabaseError
from registry.tables.column_types import MAX_ID, Line, Name, Real, Sha256, Truth, Whole
from registry.tables.models import METADATA, UtcDateTime
from registry.tables.versions import load_parts

COLUMNS = [column for table in METADATA.sorted_tables for column in table.columns]
NUMBERS = (Whole, Real, Truth)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return open_catalog(tmp_path_factory.mktemp("registry"))


def wrong(column: Column[object]) -> list[object]:
    """What nobody may read out of a column."""
    values: list[object] = [b"\x00\xff"]
    if isinstance(column.type, NUMBERS):
        values.append("seven")
    if isinstance(column.type, Whole):
        values += [1.5, -1]
        if column.type.most == MAX_ID:
            values.append(2**40)
    if isinstance(column.type, Truth):
        values += [2, 0.5]
    if isinstance(column.type, UtcDateTime):
        values += ["yesterday", -1, 1.5]
    if isinstance(column.type, Sha256):
        values += ["z" * 64, "A" * 64]
    if isinstance(column.type, Name):
        values.append("-1")
    if isinstance(column.type, Line):
        values += ["", "two\nlines"]
    return values


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_what_does_not_fit_a_column_is_damage(registry: Catalog, column: Column[object]) -> None:
    table = column.table
    assert isinstance(table, Table)
    for value in wrong(column):
        row = dict.fromkeys(table.columns.keys(), 1) | {column.name: value}
        with closing(sqlite3.connect(registry.database.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA ignore_check_constraints=ON")
            connection.execute(f"DELETE FROM {table.name}")
            marks = ", ".join("?" * len(row))
            named = ", ".join(f'"{name}"' for name in row)
            with suppress(sqlite3.IntegrityError):  # a row's id is always a number
                connection.execute(
                    f"INSERT INTO {table.name} ({named}) VALUES ({marks})", [*row.values()]
                )
                with registry.database.read() as reader, pytest.raises(DamagedDatabaseError):
                    reader.scalars(select(column)).all()


@pytest.mark.parametrize("head", ["many", 2**62, None])
def test_nothing_is_logged_after_a_head_that_is_wrong(registry: Catalog, head: object) -> None:
    with closing(sqlite3.connect(registry.database.path, isolation_level=None)) as connection:
        connection.execute("DELETE FROM log")
        connection.execute("DELETE FROM log_head")
        if head is not None:
            connection.execute("INSERT INTO log_head VALUES (1, ?, ?)", [head, "1" * 64])
    with pytest.raises(DamagedDatabaseError), registry.database.write() as writer:
        registry.log.append(writer, "gc")


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("metrics", "value", "high"),
        ("metrics", "higher_is_better", 7),
        ("metrics", "name", ""),
        ("metrics", "position", "first"),
        ("tags", "position", 1.5),
    ],
)
def test_what_is_read_of_several_tables_at_once_is_checked_too(
    registry: Catalog, table: str, column: str, value: object
) -> None:
    row = dict.fromkeys(METADATA.tables[table].columns.keys(), 1) | {column: value}
    with closing(sqlite3.connect(registry.database.path, isolation_level=None)) as connection:
        for name in ("metrics", "tags"):
            connection.execute(f"DELETE FROM {name}")
        marks = ", ".join("?" * len(row))
        connection.execute(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", [*row.values()]
        )
    with registry.database.read() as reader, pytest.raises(DamagedDatabaseError):
        load_parts(reader, [1])
