"""All rows of a registry's database, to compare with those of another."""

from typing import Any

from sqlalchemy import text

from registry import Catalog
from registry.tables.models import METADATA

Rows = dict[str, set[tuple[Any, ...]]]


def rows_of(catalog: Catalog) -> Rows:
    """All rows of all tables, and of the text index as ``text``."""
    found = {}
    with catalog.database.read() as connection:
        for table in METADATA.sorted_tables:
            found[table.name] = {tuple(row) for row in connection.execute(table.select())}
        found["text"] = {
            tuple(row) for row in connection.execute(text("SELECT * FROM revision_text"))
        }
    return found


def without_ids(found: Rows) -> Rows:
    """Rows with places for the ids of revisions: a deleted one had an id too."""
    return {
        name: _without_ids(name, found) if name != "text" else rows for name, rows in found.items()
    }


def _without_ids(table: str, found: Rows) -> set[tuple[Any, ...]]:
    order = {row[0]: place for place, row in enumerate(sorted(found["revisions"]))}
    columns = [column.name for column in METADATA.tables[table].columns]
    ids = {"revision_id", "child_id", "parent_id"} | ({"id"} if table == "revisions" else set())
    return {
        tuple(
            order.get(value) if name in ids else value
            for name, value in zip(columns, row, strict=True)
        )
        for row in found[table]
    }
