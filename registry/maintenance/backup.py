"""Copies of a whole registry, made while it is used. A backup is a registry's folder itself.

The database is copied first, as it is at one moment, then the blobs that this copy refers to: bytes
are stored before they are referred to and not collected meanwhile, so all of them are there.
"""

import io
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from registry.catalog import DATABASE_NAME, KNOWN_BASES_NAME, Catalog
from registry.errors import ConflictError, CorruptBlobError, DatabaseError, RegistryNotFoundError
from registry.log import Log
from registry.maintenance.gc import collection_lock
from registry.manifest import MAX_BYTES
from registry.storage.blobs import BlobStore
from registry.storage.durable import fsync_folder, make_folders, storage_errors, write_file
from registry.storage.files import FileInfo
from registry.tables.database import Database
from registry.tables.integrity import expected_blobs, label
from registry.tables.sqlite import copy_database

Progress = Callable[[float], None]

_PARTS = {"blobs", "records", "tmp", KNOWN_BASES_NAME}


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup or a restoration copied.

    Attributes:
        blobs: How many blobs that were not there before.
        bytes: How many bytes those hold.
        damaged: What could not be copied because it is damaged in the source, a sentence each.
    """

    blobs: int
    bytes: int
    damaged: tuple[str, ...]


def back_up(
    catalog: Catalog, destination: Path, *, progress: Progress = lambda done: None
) -> Copied:
    """Copy a registry to a folder, which may hold an earlier backup of it.

    Args:
        catalog: What to copy; others may go on using it.
        destination: The folder; only what it lacks is copied.
        progress: Told now and then which part, from 0 to 1, is done.

    Raises:
        ConflictError: `destination` holds another registry, or something else.
        StorageError: The disk is full or not writable; an earlier backup is as it was.
    """
    _require_earlier(catalog, destination)
    return _copy(catalog, destination, progress)


def restore(backup: Path, home: Path, *, progress: Progress = lambda done: None) -> Copied:
    """Make a registry of a backup, in a folder that holds none.

    Raises:
        RegistryNotFoundError: There is no backup in `backup`.
        ConflictError: `home` holds a registry, or something else.
        DatabaseError: The backup's database is damaged.
        StorageError: The disk is full or not writable.
    """
    if not (backup / DATABASE_NAME).is_file():
        raise RegistryNotFoundError(
            f"There is no backup in {backup}: expected {DATABASE_NAME} there, found none. Name the "
            "folder that `hubkit backup` wrote.",
            backup,
        )
    with storage_errors("read", home):
        # Blobs alone may be what an interrupted restoration left.
        if home.exists() and (not home.is_dir() or (home / DATABASE_NAME).exists()):
            raise ConflictError(
                f"{home} is in the way: a backup is restored to where there is no registry. Move "
                "it away first, or set HUBKIT_HOME to another folder.",
                home,
            )
    return _copy(Catalog(backup), home, progress)


def _require_earlier(catalog: Catalog, destination: Path) -> None:
    """Refuse a folder with a database that is not an earlier state of this one."""
    other = destination / DATABASE_NAME
    with storage_errors("read", destination):
        if not destination.exists():
            return
        # A backup that was interrupted leaves these, and no database.
        if destination.is_dir() and {path.name for path in destination.iterdir()} <= _PARTS:
            return
    try:
        if other.exists() and not other.samefile(catalog.database.path):
            with Database(other).read() as theirs, catalog.database.read() as ours:
                if catalog.log.holds(ours, *Log.head(theirs)):
                    return
    except DatabaseError:
        pass
    raise ConflictError(
        f"{destination} holds something else than an earlier backup of {catalog.home}. Choose an "
        "empty folder, or one that does not exist.",
        destination,
    )


def _copy(catalog: Catalog, destination: Path, progress: Progress) -> Copied:
    target = BlobStore(destination)
    snapshot = target.scratch / DATABASE_NAME
    with storage_errors("write", destination):
        make_folders(target.scratch)
        snapshot.unlink(missing_ok=True)
    # A backup on a disk that can only be read needs no lock, and could not have one.
    writable = os.access(catalog.home, os.W_OK)
    with collection_lock(catalog) if writable else nullcontext():
        copy_database(catalog.database.path, snapshot)
        copied = _copy_blobs(catalog, Database(snapshot), target, progress)
        _write_records(Database(snapshot), Log(destination))
        _copy_known_bases(catalog.home, destination)
    with storage_errors("write", destination):
        for suffix in ("-wal", "-shm", "-journal"):  # belong to the database that is replaced
            (destination / f"{DATABASE_NAME}{suffix}").unlink(missing_ok=True)
        os.replace(snapshot, destination / DATABASE_NAME)
        fsync_folder(destination)
    progress(1.0)
    return copied


def _copy_blobs(
    catalog: Catalog, snapshot: Database, target: BlobStore, progress: Progress
) -> Copied:
    blobs = size = 0
    damaged = []
    for digest, expected in expected_blobs(snapshot):
        progress(int(digest[:4], 16) / 0x10000)
        if target.has(digest):
            continue
        with snapshot.read() as session:
            named = label(session, digest)
        try:
            size += _copy_blob(catalog.blobs, target, digest, expected, named)
            blobs += 1
        except CorruptBlobError as error:
            damaged.append(str(error))
    return Copied(blobs, size, tuple(damaged))


def _copy_blob(
    source: BlobStore, target: BlobStore, digest: str, size: int | None, label: str
) -> int:
    if size is None:
        content = source.read(digest, most=MAX_BYTES, label=label)
        return target.put(io.BytesIO(content), label=label).size
    with source.open(digest, label=label) as stream:
        return target.put(stream, FileInfo(sha256=digest, size=size), label=label).size


def _write_records(snapshot: Database, target: Log) -> None:
    with snapshot.read() as session:
        target.write_missing_records(session, Log.head(session)[0])


def _copy_known_bases(home: Path, destination: Path) -> None:
    notes, copies = home / KNOWN_BASES_NAME, destination / KNOWN_BASES_NAME
    with storage_errors("copy", notes):
        for note in sorted(notes.glob("*.json")):
            make_folders(copies)
            write_file(copies / note.name, note.read_bytes())
