"""The database anew, from the blobs and records that lie beside it.

A manifest says what a version is, but not what it is called, which number it has and what was done
with it since: the records say that, one for each entry of the log, written before the transaction
that it tells of is committed. Doing again what they tell, in their order, gives the same rows; the
names of deleted adapters stay taken, and no number is given twice. What was never in the log is not
brought back. The one thing that may differ: a change that was interrupted at its last step, after
its record and before its commit, is now there.

A database that is sound, but older than the records (one out of a backup), is brought up to date. A
damaged one is kept: a SQLite file in the quarantine, tables on a server in a schema of their own.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from os import replace as move

from filelock import FileLock
from sqlalchemy import Connection

from registry.catalog.catalog import Catalog
from registry.database.database import alembic_config
from registry.database.postgresql import Postgresql
from registry.errors import (
    BusyDatabaseError,
    DatabaseError,
    ManifestError,
    NewerDatabaseError,
    RegistryNotFoundError,
    UnreachableDatabaseError,
)
from registry.log.entry import Entry
from registry.log.log import Log
from registry.maintenance.findings import Finding
from registry.maintenance.integrity import structure_problems, table_names
from registry.maintenance.replay import Replay
from registry.maintenance.snapshot import building
from registry.storage.durable import fsync_folder, make_folders, storage_errors
from registry.storage.folder_blobs import QUARANTINE_NAME, SCRATCH_NAME

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did.

    Attributes:
        entries: How many entries of the log were done again.
        problems: What could not be, a sentence each.
        kept: Where the damaged database is now; None if there was none.
    """

    entries: int
    problems: tuple[str, ...]
    kept: str | None = None


def rebuild(catalog: Catalog, *, progress: Callable[[float], None] = lambda done: None) -> Rebuilt:
    """Make the database of a registry from its blobs and records.

    Args:
        catalog: The registry; its database may be missing, damaged, or older than the records.
        progress: Told now and then which part, from 0 to 1, is done.

    Raises:
        RegistryNotFoundError: There are no records.
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
    elif isinstance(database.backend, Postgresql):
        rebuilt = _replace_tables(catalog, database.backend, progress)
    else:
        with (
            storage_errors("lock", home),
            FileLock(database.path.with_name(f"{database.path.name}.lock")),
        ):
            rebuilt = _replace_file(catalog, progress)
        database.upgrade()
    if rebuilt.entries:
        with database.write() as connection:
            catalog.log.append(connection, "rebuild", entries=rebuilt.entries)
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


def _replace_file(catalog: Catalog, progress: Callable[[float], None]) -> Rebuilt:
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
        kept = _set_aside(catalog)
        move(whole, path)
        fsync_folder(path.parent)
    return replace(rebuilt, kept=kept)


def _set_aside(catalog: Catalog) -> str | None:
    """Move the damaged database to the quarantine, with the journals that belong to it."""
    path = catalog.database.path
    kept = catalog.home / QUARANTINE_NAME / f"{path.name}-{_now()}"
    make_folders(kept.parent)
    for suffix in ("-wal", "-journal", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            move(part, kept.with_name(kept.name + suffix))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    fsync_folder(kept.parent)
    return str(kept) if kept.exists() else None


def _replace_tables(
    catalog: Catalog, server: Postgresql, progress: Callable[[float], None]
) -> Rebuilt:
    """Make new tables in place of the damaged ones, in one transaction."""
    from alembic import command

    catalog.database.migration()  # refuses a database with somebody else's tables
    with catalog.database.migrating() as connection:
        kept = server.set_aside(connection, table_names(), f"hubkit_damaged_{_now().lower()}")
        command.upgrade(alembic_config(connection), "head")
        rebuilt = _replay(catalog, lambda: nullcontext(connection), progress)
    catalog.database.close()  # connections remember statements about the old tables
    return replace(rebuilt, kept=kept)


def _now() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}"


def _replay(
    catalog: Catalog,
    writing: Callable[[], AbstractContextManager[Connection]],
    progress: Callable[[float], None],
) -> Rebuilt:
    """Do again, in a sound database, what it does not know yet."""
    with writing() as connection:
        known, _ = Log.head(connection)
    problems: list[str] = []
    # Read twice rather than kept, as there may be millions.
    replay = Replay(catalog.blobs, _entries(catalog.log, known, []))
    last = max(catalog.log.records.sequences(), default=0)
    done = 0
    entries = _entries(catalog.log, known, problems)
    while batch := list(islice(entries, _BATCH)):
        progress(batch[0].sequence / max(1, last))
        with writing() as connection:
            there, hash = Log.head(connection)
            for entry in batch:
                if entry.sequence <= there:  # whose change was under way when it was listed
                    continue
                if entry.previous != hash:
                    problems.append(
                        f"Entry {entry.sequence} of the log does not follow the one before it: "
                        "one is missing, or somebody altered it."
                    )
                Log.insert(connection, entry)
                replay.apply(connection, entry)
                hash = entry.hash
                done += 1
    progress(1.0)
    return Rebuilt(done, (*problems, *replay.problems))


def _entries(log: Log, known: int, problems: list[str]) -> Iterator[Entry]:
    for sequence in log.records.sequences():
        if sequence <= known:
            continue
        place = log.records.location(sequence)
        try:
            entry = Entry.from_json(log.records.get(sequence) or b"", place)
        except ManifestError as error:
            problems.append(f"{error} What it told is lost.")
            continue
        if entry.sequence == sequence:
            yield entry
        else:
            problems.append(f"{place} is entry {entry.sequence}: somebody renamed it.")


def find_behind(catalog: Catalog) -> Finding | None:
    """Return what to know if there are records that the log's head comes before, else None.

    A record is written before its entry is committed. So one that is ahead may be of a change that
    is under way, or was interrupted at its last step; two mean that the database lost entries.

    Raises:
        DatabaseError: The database cannot be read.
        StorageError: The records cannot be read.
    """
    records = catalog.log.records
    head = _head(catalog)
    while records.has(head + 1):
        lost = records.has(head + 2)
        found, head = head, _head(catalog)
        if head != found:  # others write meanwhile
            continue
        place = records.location()
        if lost:
            return Finding(
                f"{place} holds entries after {head}, but the log ends there: the database is "
                "older than the records, or was taken back to before migration 0002. `hubkit "
                "rebuild` brings it up to date."
            )
        return Finding(
            f"{place} holds entry {head + 1}, but the log ends with entry {head}: that change is "
            "under way, or was interrupted at its last step, or the database is older than the "
            "records. The next change takes its place, unless `hubkit rebuild` brings it back "
            "first.",
            "note",
        )
    return None


def _head(catalog: Catalog) -> int:
    with catalog.database.read() as connection:
        return Log.head(connection)[0]
