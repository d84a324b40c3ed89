"""Whether every blob that a version refers to is there and intact."""

import errno
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice

from registry.catalog.catalog import Catalog
from registry.catalog.heal import describe, heal_blob
from registry.errors import DamagedBlobError, StorageError
from registry.maintenance.findings import Finding
from registry.storage.files import CHUNK, FileInfo
from registry.tables.references import expected_blobs, owners_of

_BATCH = 100
_THREADS = 2

# Errors of one file; any other, such as an unreachable server, concerns all files.
_OF_ONE_FILE = (errno.EACCES, errno.EPERM, errno.EIO)


@dataclass(frozen=True, slots=True)
class _Looked:
    """The result for one blob: whether it is sound, and else a description."""

    sound: bool
    found: str
    hashed: int = 0
    unreadable: bool = False


def check_blobs(
    catalog: Catalog, full: bool, repair: bool, progress: Callable[[float], None]
) -> Iterator[tuple[Finding | None, int]]:
    """Yield for each blob a finding, or None if it is sound, and the bytes that were hashed.

    Raises:
        StorageError: The storage cannot be reached, or, with `repair`, not written.
    """
    look = _hash if full else _measure
    expected = expected_blobs(catalog.database)
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(expected, _BATCH)):
            progress(int(batch[0][0][:4], 16) / 0x10000)
            # Threads hash large files in parallel; for small ones, they would cost more.
            beside = {
                digest: pool.submit(look, catalog, digest, size)
                for digest, size in batch
                if full and size is not None and size >= CHUNK
            }
            for digest, size in batch:
                waiting = beside.get(digest)
                looked = look(catalog, digest, size) if waiting is None else waiting.result()
                if looked.sound:
                    yield None, looked.hashed
                else:
                    yield _finding(catalog, digest, size, looked, repair), looked.hashed
    progress(1.0)


def _measure(catalog: Catalog, digest: str, size: int | None) -> _Looked:
    if size is None:  # a manifest is small, and no row has its size
        return replace(_hash(catalog, digest, size), hashed=0)
    try:
        there = catalog.blobs.ensure_in_place(digest)
    except StorageError as error:
        return _unreadable(error)
    if there is None:
        return _Looked(False, "no file")
    return _Looked(there == size, f"{there} bytes instead of {size}")


def _hash(catalog: Catalog, digest: str, size: int | None) -> _Looked:
    try:
        found: FileInfo | None = catalog.blobs.examine(digest, size=size)
    except StorageError as error:
        return _unreadable(error)
    if found is None:
        return _Looked(False, "no file")
    return _Looked(found.sha256 == digest, describe(found, size), found.size)


def concerns_one_file(error: StorageError) -> bool:
    """Whether other files can probably be read."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _OF_ONE_FILE


def _unreadable(error: StorageError) -> _Looked:
    if not concerns_one_file(error):
        raise error
    reason = getattr(error.__cause__, "strerror", None)
    return _Looked(False, f"a file that cannot be read ({reason})", unreadable=True)


def _finding(
    catalog: Catalog, digest: str, size: int | None, looked: _Looked, repair: bool
) -> Finding | None:
    with catalog.database.read() as connection:
        named = owners_of(connection, digest)
    place = catalog.blobs.location(digest)
    text = f"{named}: expected SHA-256 {digest}, found {looked.found} at {place}."
    text += " It cannot be loaded or pulled."
    if kept := catalog.blobs.find_set_aside(digest):
        text += f" Damaged bytes of it are kept as {' and '.join(kept)}."
    if looked.unreadable:
        return Finding(f"{text} See who owns it and its permissions, and the disk's health.")
    if repair:
        damage = heal_blob(catalog.store, digest, size, named)
        if damage is None:  # another process mended it meanwhile
            return None
        return Finding(str(damage), "damaged" if damage.origin is None else "repaired")
    return Finding(
        f"{text} If it was pulled, it can be fetched again from its origin; if not, publish or "
        "pull the same adapter again, or restore a backup.",
        about=DamagedBlobError,
    )
