"""Garbage collection: removes what nothing refers to, while others go on publishing.

A blob that nothing refers to may belong to a publish under way, so it goes in two steps. First it
is condemned, if it is older than the grace period. A later collection, again a grace period after,
asks once more, inside a write transaction: publishing ends in such a transaction too, in which it
takes back what was condemned and makes sure of every blob. So whichever of the two comes first,
the other sees it. The file is renamed in that transaction and removed after the commit; a crash in
between leaves it in the trash, which the next collection empties.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock

from registry.catalog import Catalog
from registry.errors import InvalidNameError
from registry.storage.durable import make_folders, storage_errors
from registry.storage.files import parse_digest
from registry.tables.references import (
    condemn,
    condemned,
    referenced,
    referenced_between,
    spare,
    unnoticed,
)

GRACE = timedelta(hours=24)
"""How long a blob is left alone that nothing refers to: longer than any publish takes."""

LOCK_NAME = "gc.lock"
"""Held in the registry's folder by whoever collects garbage, or must not lose blobs to that."""

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Collection:
    """What a garbage collection did, or would do.

    Attributes:
        removed: How many blobs were removed.
        removed_bytes: How many bytes those held.
        condemned: How many blobs the next collection after the grace period will remove.
        condemned_bytes: How many bytes those hold.
        leftovers: How many files and folders of processes that were killed were removed, and
            folders written out for loading whose version is gone.
    """

    removed: int = 0
    removed_bytes: int = 0
    condemned: int = 0
    condemned_bytes: int = 0
    leftovers: int = 0


def collect_garbage(
    catalog: Catalog,
    *,
    dry_run: bool = False,
    grace: timedelta = GRACE,
    progress: Callable[[float], None] = lambda done: None,
) -> Collection:
    """Remove blobs that nothing has referred to for long, and what killed processes left.

    Args:
        catalog: Whose garbage.
        dry_run: Whether to change nothing and only say what would go.
        grace: How old an unreferenced blob must be to be condemned, and how long condemned to go.
        progress: Told now and then which part, from 0 to 1, of the blobs was looked at.

    Raises:
        StorageError: A file cannot be moved or removed.
        DatabaseError: The database cannot be used.
    """
    with collection_lock(catalog):
        now = datetime.now(UTC)
        removed = _sweep(catalog, now - grace, dry_run)
        marked = _condemn(catalog, now - grace, now, dry_run, progress)
        leftovers = _clear_leftovers(catalog, now - grace, dry_run)
        if (removed or marked) and not dry_run:
            with catalog.database.write() as session:
                counts = {"removed": len(removed), "condemned": len(marked)}
                catalog.log.append(session, "gc", None, **counts, bytes=sum(removed))
        return Collection(len(removed), sum(removed), len(marked), sum(marked), leftovers)


@contextmanager
def collection_lock(catalog: Catalog) -> Iterator[None]:
    """Keep others from collecting garbage during the block.

    Raises:
        StorageError: The registry's folder cannot be written.
    """
    with storage_errors("lock", catalog.home), FileLock(catalog.home / LOCK_NAME):
        yield


def _sweep(catalog: Catalog, before: datetime, dry_run: bool) -> list[int]:
    """Remove what was condemned before a time; return the sizes."""
    blobs = catalog.blobs
    if not dry_run:
        shutil.rmtree(blobs.trash, ignore_errors=True)  # of a collection that was killed
        with storage_errors("make", blobs.trash):
            make_folders(blobs.trash)
    sizes, last = [], ""
    while True:
        if dry_run:
            with catalog.database.read() as session:
                batch = condemned(session, before=before, after=last, limit=_BATCH)
                garbage = set(batch) - referenced(session, batch)
            moved = [blobs.path(digest) for digest in garbage if blobs.has(digest)]
        else:
            with catalog.database.write() as session:
                catalog.log.lock(session)  # held, too, by whoever is about to end a publish
                batch = condemned(session, before=before, after=last, limit=_BATCH)
                garbage = set(batch) - referenced(session, batch)
                moved = [_discard(catalog, digest) for digest in garbage if blobs.has(digest)]
                spare(session, batch)
        for path in moved:
            with storage_errors("remove", path):
                sizes.append(path.stat().st_size)
                if not dry_run:
                    path.unlink()
        if len(batch) < _BATCH:
            return sizes
        last = batch[-1]


def _discard(catalog: Catalog, digest: str) -> Path:
    source, target = catalog.blobs.path(digest), catalog.blobs.trash / digest
    with storage_errors("move to the trash", source):
        os.replace(source, target)
    return target


def _condemn(
    catalog: Catalog,
    before: datetime,
    now: datetime,
    dry_run: bool,
    progress: Callable[[float], None],
) -> list[int]:
    """Condemn the unreferenced blobs last written before a time; return the sizes of all such."""
    found: dict[str, int] = {}
    for number, shard in enumerate(shards(catalog)):
        progress(number / 256)
        with catalog.database.read() as session:
            known = referenced_between(
                session, f"{shard.name}{'0' * 62}", f"{shard.name}{'f' * 62}"
            )
        for path in blob_files(shard):
            if path.name in known:
                continue
            try:
                state = path.stat()
            except FileNotFoundError:  # set aside by another process
                continue
            if datetime.fromtimestamp(state.st_mtime, UTC) < before:
                found[path.name] = state.st_size
    progress(1.0)
    new: list[str] = []
    for batch in _batches([*found]):
        if dry_run:
            with catalog.database.read() as session:
                new += unnoticed(session, batch)
        else:
            with catalog.database.write() as session:
                new += condemn(session, batch, now)
    return [found[digest] for digest in new]


def _batches(digests: list[str]) -> Iterator[list[str]]:
    # Small, so that no publisher waits for long.
    for start in range(0, len(digests), _BATCH):
        yield digests[start : start + _BATCH]


def shards(catalog: Catalog) -> Iterator[Path]:
    """Yield the folders ``blobs/sha256/ab``, in order."""
    root = catalog.blobs.root
    if root.is_dir():
        with storage_errors("read", root):
            yield from sorted(path for path in root.iterdir() if path.is_dir())


def blob_files(shard: Path) -> Iterator[Path]:
    """Yield the blobs in such a folder; files of other names are not hubkit's, and are left."""
    for folder in sorted(shard.iterdir()):
        if folder.is_dir():
            for entry in os.scandir(folder):
                try:
                    parse_digest(entry.name)
                except InvalidNameError:
                    continue
                yield Path(entry.path)


def _clear_leftovers(catalog: Catalog, before: datetime, dry_run: bool) -> int:
    """Remove old scratch files, and folders written out for versions that are gone."""
    cache = catalog.home / "cache"
    with storage_errors("clear", catalog.home):
        scratch = [*catalog.blobs.scratch.glob(".*.tmp"), *cache.glob(".*.tmp")]
        old = [path for path in scratch if _is_older(path, before)]
        folders = {path.name: path for path in cache.glob("[0-9a-f]*") if path.is_dir()}
        with catalog.database.read() as session:
            gone = folders.keys() - referenced(session, folders.keys())
        old += [folders[name] for name in gone if _is_older(folders[name], before)]
        if not dry_run:
            for path in old:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return len(old)


def _is_older(path: Path, time: datetime) -> bool:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC) < time
    except FileNotFoundError:
        return False
