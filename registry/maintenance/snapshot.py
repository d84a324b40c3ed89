"""A registry's database in one file of its own, made beside it or from it."""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from registry.database.database import Database
from registry.database.sqlite import Sqlite, copy_database
from registry.maintenance.copying import copy_rows
from registry.storage.durable import fsync_folder, make_folders, storage_errors


def snapshot(
    database: Database, target: Path, *, progress: Callable[[float], None] = lambda done: None
) -> None:
    """Write a database, as it is at this moment, to a new SQLite file.

    Args:
        database: What to copy, on SQLite or PostgreSQL.
        target: The file to make or replace; it needs no other beside it.
        progress: Told now and then which part, from 0 to 1, is done.

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
        copy_rows(rows, connection, progress=progress)


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
