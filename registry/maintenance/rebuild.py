"""Make the database again from the blobs and the records beside it.

A manifest describes a version, but lacks its name, its number and later changes: the records have
these, one for each entry of the log. Applying them in order gives the same rows. The names of
deleted adapters stay taken, and no number is used twice. Facts that were never in the log do not
come back. One thing may differ: a change that was interrupted after its record and before its
commit is now there.

Every entry has the hash of the one before it, so a record counts if the next one names it. A
damaged or missing record is reported, and noted in the log; the others are applied.

A sound database that is older than the records, such as one from a backup, is brought up to date. A
damaged one is kept: a SQLite file in the quarantine, tables on a server in a schema of their own.
No process writes to it meanwhile. Processes that had it open find the new one.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from os import replace as move
from pathlib import Path

from sqlalchemy import Connection, update

from registry.catalog.catalog import Catalog
from registry.database.database import alembic_config
from registry.database.postgresql import Postgresql
from registry.database.sqlite import Sqlite, set_journal
from registry.errors import (
    BusyDatabaseError,
    DatabaseError,
    NewerDatabaseError,
    OutdatedDatabaseError,
    RegistryNotFoundError,
    UnreachableDatabaseError,
)
from registry.log.log import Log
from registry.maintenance.copying import building
from registry.maintenance.findings import Finding
from registry.maintenance.integrity import structure_problems, table_names
from registry.maintenance.replay import Records, Replay
from registry.storage.durable import fsync_folder, make_folders, storage_errors
from registry.storage.folder_blobs import QUARANTINE_NAME, SCRATCH_NAME
from registry.tables.models import LOG_HEAD

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did.

    Attributes:
        entries: How many entries of the log were applied.
        problems: A sentence for each that could not be applied.
        lost: The first and last number of each span of entries whose records are damaged or gone.
        kept: Where the damaged database is now; None if there was none.
    """

    entries: int
    problems: tuple[str, ...]
    lost: tuple[tuple[int, int], ...] = ()
    kept: str | None = None


def rebuild(catalog: Catalog, *, progress: Callable[[float], None] = lambda done: None) -> Rebuilt:
    """Make the database of a registry from its blobs and records.

    Args:
        catalog: The registry; its database may be missing, damaged, or older than the records.
        progress: Called now and then with the part that is done, from 0 to 1.

    Raises:
        RegistryNotFoundError: There are no records.
        AlteredLogError: The records do not continue the log of a sound database.
        NewerDatabaseError: A newer hubkit has used the database.
        StorageError: The disk is full or not writable; the database is as it was.
    """
    home, database = catalog.home, catalog.database
    with storage_errors("read", home):
        has_records = any(True for _ in catalog.log.records.sequences())
    if not has_records:
        raise RegistryNotFoundError(
            f"There is nothing to make a database from in {home}: expected records in "
            f"{catalog.log.records.location()}, found none. Restore a backup.",
            home,
        )
    if _is_sound(catalog):
        rebuilt = _replay(catalog, database.write, progress)
    elif isinstance(database.backend, Sqlite):
        parts = _parts(database.path)
        with storage_errors("lock", home), database.backend.held():
            rebuilt = _replace_file(catalog, parts, progress)
        database.upgrade()
    else:
        assert isinstance(database.backend, Postgresql)
        rebuilt = _replace_tables(catalog, database.backend, progress)
    with database.write() as connection:
        catalog.log.settle_pending(connection)
        if rebuilt.entries or rebuilt.lost:
            lost = [[*span] for span in rebuilt.lost] or None
            catalog.log.append(connection, "rebuild", entries=rebuilt.entries, lost=lost)
    return rebuilt


def _is_sound(catalog: Catalog) -> bool:
    database = catalog.database
    try:
        if not database.exists():
            return False
        database.upgrade()
        with database.read() as connection:
            if structure_problems(connection, full=True):
                return False
            # One that is older than the records is sound; one that says something else is not.
            return not catalog.log.verify(connection).problems
    except (NewerDatabaseError, BusyDatabaseError, UnreachableDatabaseError):
        raise  # it may be sound
    except DatabaseError:
        return False


def _replace_file(catalog: Catalog, parts: list[str], progress: Callable[[float], None]) -> Rebuilt:
    """Make a new database beside the damaged one, and put it in its place when it is whole."""
    path = catalog.database.path
    scratch = catalog.home / SCRATCH_NAME
    whole = scratch / f".{path.name}.tmp"
    with storage_errors("make", scratch):
        make_folders(scratch)
    with building(whole) as new:
        rebuilt = _replay(catalog, new.write, progress)
    catalog.database.close()
    with storage_errors("replace", path):
        set_journal(whole)  # not later, when others write to it already
        kept = _set_aside(catalog, parts)
        move(whole, path)
        fsync_folder(path.parent)
    return replace(rebuilt, kept=kept)


def _parts(path: Path) -> list[str]:
    """Return the endings of the files of a SQLite database: its own, and those of journals."""
    ends = ("-wal", "-journal", "")
    return [end for end in ends if path.with_name(path.name + end).exists()]


def _set_aside(catalog: Catalog, parts: list[str]) -> str | None:
    """Move the damaged database to the quarantine, with the journals that belong to it."""
    path = catalog.database.path
    kept = catalog.home / QUARANTINE_NAME / f"{path.name}-{_now()}"
    make_folders(kept.parent)
    for end in parts:
        move(path.with_name(path.name + end), kept.with_name(kept.name + end))
    for end in ("-wal", "-journal", "-shm"):  # of the connection that locks other processes out
        path.with_name(path.name + end).unlink(missing_ok=True)
    fsync_folder(kept.parent)
    return str(kept) if "" in parts else None


def _replace_tables(
    catalog: Catalog, server: Postgresql, progress: Callable[[float], None]
) -> Rebuilt:
    """Make new tables in place of the damaged ones, in one transaction."""
    from alembic import command

    catalog.database.migration()  # refuses a database with other tables
    with catalog.database.migrating() as connection:
        kept = server.set_aside(connection, table_names(), f"hubkit_damaged_{_now().lower()}")
        command.upgrade(alembic_config(connection), "head")
        rebuilt = _replay(catalog, lambda: nullcontext(connection), progress)
    catalog.database.close()  # connections remember statements about the old tables
    return replace(rebuilt, kept=kept)


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"  # two may be in one second


def _replay(
    catalog: Catalog,
    writing: Callable[[], AbstractContextManager[Connection]],
    progress: Callable[[float], None],
) -> Rebuilt:
    """Apply the entries that a sound database does not have yet."""
    with writing() as connection:
        head = Log.head(connection)
    # Read twice rather than kept, as there may be millions.
    replay = Replay(catalog.store, Records(catalog.log.records, *head))
    records = Records(catalog.log.records, *head)
    entries = iter(records)
    done = 0
    while batch := list(islice(entries, _BATCH)):
        progress(batch[0].sequence / records.last)
        with writing() as connection:
            there, _ = Log.head(connection)
            for entry in batch:
                if entry.sequence <= there:  # its change was under way when it was listed
                    continue
                Log.insert(connection, entry)
                replay.apply(connection, entry)
                done += 1
    if records.lost:
        with writing() as connection:  # the number of a lost entry is not used again
            last = records.lost[-1][1]
            connection.execute(
                update(LOG_HEAD).where(LOG_HEAD.c.sequence < last).values(sequence=last)
            )
    progress(1.0)
    return Rebuilt(done, (*records.problems, *replay.problems), records.lost)


def find_behind(catalog: Catalog) -> Finding | None:
    """Return a finding if there are records after the last entry of the log, else None.

    Raises:
        DatabaseError: The database cannot be read.
        StorageError: The records cannot be read.
    """
    records = catalog.log.records
    head, place = _head(catalog), records.location()
    while records.has(head + 1):
        found, head = head, _head(catalog)
        if head == found:  # no process writes meanwhile
            return Finding(
                f"{place} holds entries after {head}, but the log ends there: the database is "
                "older than the records, or was taken back to a state before migration 0002.",
                about=OutdatedDatabaseError,
            )
    interrupted = [sequence for sequence, _ in records.pending() if sequence > head]
    if interrupted and _head(catalog) == head:
        return Finding(
            f"{place} holds a record of entry {head + 1}, which is not committed. Its change is "
            "under way, or was interrupted at its last step. The next change replaces it, unless "
            "the database is rebuilt from the records first.",
            "note",
        )
    return None


def _head(catalog: Catalog) -> int:
    with catalog.database.read() as connection:
        return Log.head(connection)[0]
