"""The database anew, from the blobs and records that lie beside it.

A manifest says what a version is, but not what it is called, which number it has and what was done
with it since: the records say that, one for each entry of the log, written before the transaction
that it tells of is committed. Doing again what they tell, in their order, gives the same rows; the
names of deleted adapters stay taken, and no number is given twice. What was never in the log is not
brought back. The one thing that may differ: a change that was interrupted at its last step, after
its record and before its commit, is now there.

A database that is sound, but older than the records (one out of a backup), is brought up to date.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from filelock import FileLock

from registry.catalog import Catalog
from registry.entries import Entry
from registry.errors import (
    DatabaseError,
    ManifestError,
    NewerDatabaseError,
    RegistryNotFoundError,
)
from registry.log import Log
from registry.maintenance.replay import Replay
from registry.storage.durable import fsync_folder, make_folders, storage_errors
from registry.tables.database import Database
from registry.tables.integrity import structure_problems
from registry.tables.sqlite import copy_database

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
    kept: Path | None = None


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
    home, path = catalog.home, catalog.database.path
    if not any(True for _ in catalog.log.records.sequences()):
        raise RegistryNotFoundError(
            f"There is nothing to make a database from in {home}: expected records in "
            f"{catalog.log.records.root}, found none. Restore a backup.",
            home,
        )
    if path.exists() and _is_sound(catalog):
        rebuilt = _replay(catalog, catalog.database, progress)
    else:
        with storage_errors("lock", home), FileLock(path.with_name(f"{path.name}.lock")):
            rebuilt = _replace(catalog, progress)
        catalog.database.upgrade()
    if rebuilt.entries:
        with catalog.database.write() as session:
            catalog.log.append(session, "rebuild", entries=rebuilt.entries)
    return rebuilt


def _is_sound(catalog: Catalog) -> bool:
    try:
        if catalog.database.migration() is None:
            return False
        catalog.database.upgrade()
        with catalog.database.read() as session:
            return not structure_problems(session)
    except NewerDatabaseError:
        raise
    except DatabaseError:
        return False


def _replace(catalog: Catalog, progress: Callable[[float], None]) -> Rebuilt:
    """Make a new database beside the damaged one, and put it in its place when it is whole."""
    path = catalog.database.path
    scratch = catalog.blobs.scratch / f".{uuid.uuid4().hex}.tmp"
    with storage_errors("make", scratch):
        make_folders(scratch)
    new = Database(scratch / path.name)
    new.upgrade()
    rebuilt = _replay(catalog, new, progress)
    whole = scratch / "whole.db"
    copy_database(new.path, whole)
    new.close()
    catalog.database.close()
    with storage_errors("replace", path):
        kept = _set_aside(catalog)
        os.replace(whole, path)
        fsync_folder(path.parent)
        for leftover in scratch.iterdir():
            leftover.unlink()
        scratch.rmdir()
    return replace(rebuilt, kept=kept)


def _set_aside(catalog: Catalog) -> Path | None:
    """Move the damaged database to the quarantine, with the journals that belong to it."""
    path = catalog.database.path
    kept = catalog.blobs.quarantine / f"{path.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    make_folders(kept.parent)
    for suffix in ("-wal", "-journal", ""):
        part = path.with_name(path.name + suffix)
        if part.exists():
            os.replace(part, kept.with_name(kept.name + suffix))
    path.with_name(f"{path.name}-shm").unlink(missing_ok=True)
    fsync_folder(kept.parent)
    return kept if kept.exists() else None


def _replay(catalog: Catalog, database: Database, progress: Callable[[float], None]) -> Rebuilt:
    """Do again, in a sound database, what it does not know yet."""
    with database.read() as session:
        known, hash = Log.head(session)
    problems: list[str] = []
    # Read twice rather than kept, as there may be millions.
    replay = Replay(catalog.blobs, _entries(catalog.log, known, []))
    last = max(catalog.log.records.sequences(), default=0)
    done = 0
    entries = _entries(catalog.log, known, problems)
    while batch := list(islice(entries, _BATCH)):
        progress(batch[0].sequence / max(1, last))
        with database.write() as session:
            for entry in batch:
                if entry.previous != hash:
                    problems.append(
                        f"Entry {entry.sequence} of the log does not follow the one before it: "
                        "one is missing, or somebody altered it."
                    )
                Log.insert(session, entry)
                replay.apply(session, entry)
                hash = entry.hash
                done += 1
    progress(1.0)
    return Rebuilt(done, (*problems, *replay.problems))


def _entries(log: Log, known: int, problems: list[str]) -> Iterator[Entry]:
    for sequence in log.records.sequences():
        if sequence <= known:
            continue
        path = log.records.path(sequence)
        try:
            entry = Entry.from_json(log.records.get(sequence) or b"", str(path))
        except ManifestError as error:
            problems.append(f"{error} What it told is lost.")
            continue
        if entry.sequence == sequence:
            yield entry
        else:
            problems.append(f"{path} is entry {entry.sequence}: somebody renamed it.")
