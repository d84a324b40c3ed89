"""All rows of one registry's database in another's: from SQLite to PostgreSQL, and back."""

from collections.abc import Callable

from sqlalchemy import Connection, delete, func, insert, select, text

from registry.tables.models import LOG_HEAD, METADATA, REPOSITORIES, REVISIONS
from registry.tables.text_index import add_texts, text_columns
from registry.tables.versions import load_versions, select_versions

_BATCH = 1000


def is_empty(connection: Connection) -> bool:
    """Whether a database with hubkit's tables holds nothing, and never did."""
    return not connection.scalar(select(LOG_HEAD.c.sequence)) and not connection.scalar(
        select(func.count()).select_from(select(REPOSITORIES.c.id).limit(1).subquery())
    )


def copy_rows(
    source: Connection, target: Connection, *, progress: Callable[[float], None] = lambda done: None
) -> None:
    """Copy every row, under its id, to an empty database, and index what is found by text.

    Args:
        source: A transaction that sees one unchanging state.
        target: A transaction in a database of the same migration, for which `is_empty` holds.
        progress: Told now and then which part, from 0 to 1, is done.
    """
    tables = METADATA.sorted_tables
    for number, current in enumerate(tables):
        progress(number / (len(tables) + 1))
        target.execute(delete(current))  # a migration may have put the log's head there
        # By its key, as a revision refers to an earlier one.
        statement = select(current).order_by(*current.primary_key)
        rows = source.execute(statement, execution_options={"yield_per": _BATCH})
        for batch in rows.mappings().partitions():
            target.execute(insert(current), [dict(row) for row in batch])
    _copy_texts(source, target)
    if target.dialect.name == "postgresql":
        _go_on_counting(target)
    progress(1.0)


def _copy_texts(source: Connection, target: Connection) -> None:
    last = 0
    while True:
        batch = load_versions(
            source,
            select_versions().where(REVISIONS.c.id > last).order_by(REVISIONS.c.id).limit(_BATCH),
        )
        if not batch:
            return
        texts = {key: text_columns(version.ref, version) for key, version in batch}
        add_texts(target, texts)
        last = batch[-1][0]


def _go_on_counting(target: Connection) -> None:
    """Let the next id be beyond those that were copied."""
    for name in ("repositories", "revisions"):
        target.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{name}', 'id'),"
                f" (SELECT coalesce(max(id), 0) + 1 FROM {name}), false)"
            )
        )
