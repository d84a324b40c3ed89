"""A registry's database in one file of its own, and all its rows in another database."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, delete, func, insert, select, text

from registry.database.database import Database
from registry.database.sqlite import Sqlite, copy_database
from registry.storage.durable import fsync_folder, make_folders, storage_errors
from registry.tables.models import LOG_HEAD, METADATA, REPOSITORIES, REVISIONS
from registry.tables.text_index import add_texts, text_columns
from registry.tables.versions import load_rows, select_versions

_BATCH = 1000


def is_empty(connection: Connection) -> bool:
    """Whether a database with hubkit's tables is empty, and always was."""
    return not connection.scalar(select(LOG_HEAD.c.sequence)) and not connection.scalar(
        select(func.count()).select_from(select(REPOSITORIES.c.id).limit(1).subquery())
    )


def copy_rows(source: Connection, target: Connection) -> None:
    """Copy every row with its id to an empty database, and make the search index.

    Args:
        source: A transaction that sees one unchanging state.
        target: A transaction in a database of the same migration, for which `is_empty` holds.
    """
    for current in METADATA.sorted_tables:
        target.execute(delete(current))  # a migration may have written the log's head
        # By key: a revision refers to an earlier one.
        statement = select(current).order_by(*current.primary_key)
        rows = source.execute(statement, execution_options={"yield_per": _BATCH})
        for batch in rows.mappings().partitions():
            target.execute(insert(current), [dict(row) for row in batch])
    _copy_texts(source, target)
    if target.dialect.name == "postgresql":
        _move_counters(target)


def _copy_texts(source: Connection, target: Connection) -> None:
    last = 0
    while True:
        batch = load_rows(
            source,
            select_versions().where(REVISIONS.c.id > last).order_by(REVISIONS.c.id).limit(_BATCH),
        )
        if not batch:
            return
        texts = {row.id: text_columns(version.ref, version) for row, version in batch}
        add_texts(target, texts)
        last = batch[-1][0].id


def _move_counters(target: Connection) -> None:
    """Set the counters of ids beyond the copied ones."""
    counted = [one for one in METADATA.sorted_tables if one.autoincrement_column is not None]
    for name in (table.name for table in counted):
        target.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{name}', 'id'),"
                f" (SELECT coalesce(max(id), 0) + 1 FROM {name}), false)"
            )
        )


def snapshot(database: Database, target: Path) -> None:
    """Write a database, as it is now, to a new SQLite file.

    Args:
        database: The database, on SQLite or PostgreSQL.
        target: The file to make or replace; it needs no other beside it.

    Raises:
        DatabaseError: `database` cannot be read.
        StorageError: `target` cannot be written; it is as it was.
    """
    if isinstance(database.backend, Sqlite):
        with storage_errors("write", target):
            target.unlink(missing_ok=True)
        try:
            copy_database(database.path, target)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return
    with building(target) as new, database.read() as rows, new.write() as connection:
        copy_rows(rows, connection)


@contextmanager
def building(target: Path) -> Iterator[Database]:
    """Yield a new SQLite database with hubkit's tables, which is at `target` after the block.

    Raises:
        StorageError: It cannot be written; `target` is as it was.
    """
    scratch = target.parent / f".{uuid.uuid4().hex}.tmp"
    with storage_errors("make", scratch):
        make_folders(scratch)
    new = Database(scratch / "new.db")
    try:
        new.upgrade()
        yield new
        copy_database(new.path, scratch / "whole.db")
        with storage_errors("write", target):
            os.replace(scratch / "whole.db", target)
            fsync_folder(target.parent)
    finally:
        new.close()
        shutil.rmtree(scratch, ignore_errors=True)
