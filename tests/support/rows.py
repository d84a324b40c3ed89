"""All rows of a registry's database, to compare with those of another."""

from typing import Any

from sqlalchemy import Table, text

from registry import Catalog
from registry.tables.models import COMMITS, METADATA, TREES

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
    """Rows with what they are in place of the ids of revisions, commits and trees.

    What was deleted had ids too, and commits and trees of it may be there once more.
    """
    places = {
        "revisions": {row[0]: place for place, row in enumerate(sorted(found["revisions"]))},
        "commits": {
            row["id"]: (row["repository_id"], row["oid"]) for row in _named(found, COMMITS)
        },
        "trees": {row["id"]: row["digest"] for row in _named(found, TREES)},
    }

    def plain(table: Table, row: dict[str, Any]) -> tuple[Any, ...]:
        for column in table.columns:
            keys = [key.column.table.name for key in column.foreign_keys]
            of = keys[0] if keys else table.name if column.name == "id" else ""
            if of in places:
                row[column.name] = places[of].get(row[column.name])
        return tuple(row.values())

    tables = {
        table.name: {plain(table, row) for row in _named(found, table)}
        for table in METADATA.sorted_tables
    }
    revisions = places["revisions"]
    return tables | {"text": {(revisions.get(row[0], row[0]), *row[1:]) for row in found["text"]}}


def _named(found: Rows, table: Table) -> list[dict[str, Any]]:
    names = [column.name for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in found[table.name]]
