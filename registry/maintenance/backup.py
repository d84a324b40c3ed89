"""Copies of a whole registry, made while it is used.

A backup is the folder of a registry, with a SQLite file and all bytes in it, also if the registry
uses a server or object storage. So it can be restored to any kind of database and storage, and read
without a server.

The database is copied first, as it is at one moment; then the blobs that this copy refers to. Bytes
are stored before rows refer to them, and are not collected meanwhile, so all of them are there.
"""

import io
import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

from registry.catalog.catalog import KNOWN_BASES_NAME, Catalog
from registry.catalog.complete import complete_rows
from registry.database.database import Database
from registry.database.sqlite import Sqlite
from registry.errors import (
    BackupNotFoundError,
    ConflictError,
    CorruptBlobError,
    DatabaseError,
    ManifestError,
    StorageError,
)
from registry.history.trees import MAX_BYTES as MAX_TREE
from registry.history.versions import complete_commits
from registry.log.entry import Entry
from registry.log.log import Log
from registry.maintenance.blob_check import concerns_one_file
from registry.maintenance.copying import copy_rows, is_empty, snapshot
from registry.maintenance.gc import LOCK_NAME, collection_lock
from registry.manifest import MAX_BYTES as MAX_MANIFEST
from registry.storage.blobs import BlobStore, read_blob
from registry.storage.durable import fsync_folder, make_folders, storage_errors, write_file
from registry.storage.files import FileInfo
from registry.storage.folder_blobs import SCRATCH_NAME
from registry.store import DATABASE_NAME
from registry.tables.references import expected_blobs, owners_of

Progress = Callable[[float], None]
Check = Callable[[], None]

# The most bytes of a blob whose size no row has: a manifest, or a list of files.
_MOST = max(MAX_MANIFEST, MAX_TREE)
_PARTS = {"blobs", "records", "tmp", KNOWN_BASES_NAME, LOCK_NAME, f"{DATABASE_NAME}.lock"}


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup or a restoration copied.

    Attributes:
        blobs: How many blobs were not there before.
        bytes: How many bytes those hold.
        mended: How many damaged or lost blobs and records of an earlier backup were copied again.
        damaged: A sentence for each blob that is damaged in the source, and was not copied.
    """

    blobs: int
    bytes: int
    mended: int
    damaged: tuple[str, ...]


def back_up(
    catalog: Catalog, destination: Path, *, progress: Progress = lambda done: None
) -> Copied:
    """Copy a registry to a folder, which may hold an earlier backup of it.

    Args:
        catalog: The registry; other processes may use it meanwhile.
        destination: The folder. An earlier backup there is verified, and only missing or damaged
            parts are copied.
        progress: Called now and then with the part that is done, from 0 to 1.

    Raises:
        ConflictError: `destination` is in this registry's folder, or holds another registry, or
            something else.
        StorageError: The disk is full or not writable; an earlier backup is as it was.
    """
    check = partial(_require_earlier, catalog, destination)
    return _copy(catalog, Catalog(destination), check, progress)


def restore(backup: Path, target: Catalog, *, progress: Progress = lambda done: None) -> Copied:
    """Make a registry from a backup, in a place with no registry or an empty one.

    Args:
        backup: The folder that `back_up` wrote; it may be of an older hubkit.
        target: The result of `registry.home.find_catalog`, which touches nothing.
        progress: Called now and then with the part that is done, from 0 to 1.

    Raises:
        BackupNotFoundError: There is no backup in `backup`.
        ConflictError: `target` holds a registry, or something else.
        DatabaseError: The backup's database is damaged, or of a newer hubkit.
        StorageError: The disk is full or not writable.
    """
    if not (backup / DATABASE_NAME).is_file():
        raise BackupNotFoundError(
            f"There is no backup in {backup}: expected {DATABASE_NAME} there, found none.",
            backup,
        )
    _require_room(target)
    source = Catalog(backup)
    source.database.is_current()  # refuses one of a newer hubkit
    return _copy(source, target, partial(_require_room, target), progress)


def _require_room(target: Catalog) -> None:
    """Refuse a place that is not empty."""
    home, database = target.home, target.database
    with storage_errors("read", home):
        taken = home.exists() and not home.is_dir()
    try:
        # Blobs alone may be from an interrupted restoration.
        taken = taken or not _is_unused(Database(home / DATABASE_NAME))
    except DatabaseError:
        taken = True
    if taken:
        raise ConflictError(
            f"{home} is in the way: a backup is restored to a place without a registry. Move it "
            "away first, or set HUBKIT_HOME to another folder.",
            home,
        )
    if not isinstance(database.backend, Sqlite) and not _is_unused(database):
        raise _taken(database.backend.label)


def _taken(label: str) -> ConflictError:
    return ConflictError(
        f"{label} holds a registry already: a backup is restored to a database with nothing in it. "
        "Make an empty one, and name it in HUBKIT_DATABASE_URL.",
        label,
    )


def _is_unused(database: Database) -> bool:
    """Whether there is no database, or only the empty one that opening a registry makes."""
    if not database.exists():
        return True
    database.upgrade()
    with database.read() as connection:
        empty = is_empty(connection)
    database.close()
    return empty


def _require_earlier(catalog: Catalog, destination: Path) -> None:
    """Refuse a folder of this registry, and one whose database is not an earlier state of it."""
    home = catalog.home
    if destination.resolve().is_relative_to(home.resolve()):
        raise ConflictError(
            f"{destination} is in the registry {home} itself: a backup there would be lost with "
            "it. Choose a folder elsewhere, best on another disk.",
            destination,
        )
    other = destination / DATABASE_NAME
    with storage_errors("read", destination):
        if not destination.exists():
            return
        # A backup that was interrupted leaves these, and no database.
        if destination.is_dir() and {path.name for path in destination.iterdir()} <= _PARTS:
            return
    try:
        if other.exists():
            with Database(other).read() as theirs, catalog.database.read() as ours:
                if catalog.log.holds(ours, *Log.head(theirs)):
                    return
    except DatabaseError:
        pass
    raise ConflictError(
        f"{destination} holds something else than an earlier backup of {home}. Choose an "
        "empty folder, or one that does not exist.",
        destination,
    )


def _copy(source: Catalog, target: Catalog, check: Check, progress: Progress) -> Copied:
    """Copy all, one process at a time.

    Args:
        source: The registry to copy.
        target: The copy.
        check: Refuses a target that must not be written over; called at the start, and again when
            no other process can change the target any more.
        progress: As for `back_up`.
    """
    check()
    with storage_errors("write", target.home):
        make_folders(target.home / SCRATCH_NAME)
    with collection_lock(target):
        check()
        return _copy_alone(source, target, check, progress)


def _copy_alone(source: Catalog, target: Catalog, check: Check, progress: Progress) -> Copied:
    copy = target.home / SCRATCH_NAME / DATABASE_NAME
    # A backup on a read-only disk needs no lock, and could not have one.
    writable = os.access(source.home, os.W_OK)
    try:
        with collection_lock(source) if writable else nullcontext():
            snapshot(source.database, copy)
            rows = Database(copy)
            rows.upgrade()
            if not (target.home / DATABASE_NAME).exists():  # else `check` has looked at it
                _require_same_records(rows, target)
            copied = _copy_blobs(source, rows, target.blobs, progress)
            rows.close()
            _copy_known_bases(source.home, target.home)
        before = target.log.records.has(1)
        _install(copy, target, check)
        complete_rows(target.store)  # of a backup that an older hubkit made
        complete_commits(target.store)
        # Last: they can be written again from the rows, and must not be newer than the rows.
        with target.database.read() as connection:
            missing = target.log.missing_records(connection)
            target.log.write_records(connection, missing)
        if before:
            copied = replace(copied, mended=copied.mended + len(missing))
    finally:
        for suffix in ("", "-wal", "-shm", ".lock"):
            with suppress(OSError):
                copy.with_name(copy.name + suffix).unlink()
    progress(1.0)
    return copied


def _require_same_records(rows: Database, target: Catalog) -> None:
    """Refuse to write over records from which a lost database can be made again."""
    records = target.log.records
    with rows.read() as connection:
        for entry in target.log.entries(connection):
            content = records.get(entry.sequence)
            if content is None or content == entry.to_json() or _is_damaged(content):
                continue
            raise ConflictError(
                f"{records.location(entry.sequence)} is in the way: it is a record of another "
                "registry, or of another course of this one. Choose another place for the copy, "
                "or move those records away first.",
                records.location(entry.sequence),
            )


def _is_damaged(record: bytes) -> bool:
    try:
        Entry.from_json(record, "")
    except ManifestError:
        return True
    return False


def _install(copy: Path, target: Catalog, check: Check) -> None:
    """Replace the database of a registry by a copy: all of it, or nothing."""
    backend = target.database.backend
    if not isinstance(backend, Sqlite):
        target.database.upgrade()
        rows = Database(copy)
        with rows.read() as source, target.database.write() as connection:
            target.log.lock(connection)  # so that no process publishes after this is read
            if not is_empty(connection):
                raise _taken(backend.label)
            copy_rows(source, connection)
        rows.close()
        return
    with backend.held(), storage_errors("write", target.home):
        check()
        for suffix in ("-wal", "-shm", "-journal"):  # belong to the database that is replaced
            (target.home / f"{DATABASE_NAME}{suffix}").unlink(missing_ok=True)
        os.replace(copy, target.home / DATABASE_NAME)
        fsync_folder(target.home)


def _copy_blobs(
    catalog: Catalog, snapshot: Database, target: BlobStore, progress: Progress
) -> Copied:
    blobs = size = mended = 0
    damaged = []
    for digest, expected in expected_blobs(snapshot):
        progress(int(digest[:4], 16) / 0x10000)
        there = target.examine(digest, size=expected)
        if there is not None and there.sha256 == digest:
            continue
        with snapshot.read() as connection:
            named = owners_of(connection, digest)
        try:
            with _opened(catalog.blobs, digest, expected, named) as stream:
                info = None if expected is None else FileInfo(sha256=digest, size=expected)
                size += target.put(stream, info, label=named).size
            blobs += there is None
            mended += there is not None
        except CorruptBlobError as error:
            damaged.append(str(error))
    return Copied(blobs, size, mended, tuple(damaged))


def _opened(source: BlobStore, digest: str, size: int | None, label: str) -> BinaryIO:
    """Open a blob; if `size` is given, the reader must check the digest.

    Raises:
        CorruptBlobError: It is damaged, or cannot be read while others can.
    """
    try:
        if size is None:
            return io.BytesIO(read_blob(source, digest, most=_MOST, label=label))
        return source.open(digest, label=label)
    except StorageError as error:
        if concerns_one_file(error):
            raise CorruptBlobError(f"{label}: {error}", label) from error
        raise


def _copy_known_bases(home: Path, destination: Path) -> None:
    notes, copies = home / KNOWN_BASES_NAME, destination / KNOWN_BASES_NAME
    with storage_errors("copy", notes):
        for note in sorted(notes.glob("*.json")):
            make_folders(copies)
            write_file(copies / note.name, note.read_bytes())
