"""Garbage collection: removes bytes that nothing refers to, while others publish.

A blob that nothing refers to may belong to a publish under way, so it is removed in steps. First it
is condemned, if it is older than the grace period. After another grace period, a later collection
moves it to the trash, if still nothing refers to it; reading it brings it back. Then a write
transaction checks each blob in the trash again. A blob that something refers to goes back to its
place; the others are removed after the commit.

Publishing also ends in a write transaction. It takes its blobs off the list of condemned ones, and
checks that each is there. The two transactions cannot overlap: the later one sees what the earlier
did. A lost lock does no harm. Moving a blob to the trash needs no lock, and a blob is removed only
after the transaction that checked it has committed. If that fails, the next collection empties the
trash. No two collections give a blob the same name there, so none removes what another moved.

Blobs are listed by the first two digits of their digests, so that a registry of any size takes
little memory. They are decided on in small batches with a pause after each, so that no process
waits for long.
"""

import re
import shutil
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import Connection

from registry.catalog.cache import (
    CACHE_NAME,
    remove_dead_readers,
    scratch_folders,
    take_away,
    unused_folders,
)
from registry.catalog.catalog import Catalog
from registry.errors import AlteredRowsError
from registry.history.deleting import remove_unneeded
from registry.maintenance.checks.adapters import missing_versions
from registry.maintenance.checks.histories import missing_commits
from registry.maintenance.checks.rows import without_files
from registry.maintenance.checks.trees import without_tree_files
from registry.runs import abandoned_runs, last_written, run_lock
from registry.storage.blobs import Stored
from registry.storage.durable import storage_errors
from registry.storage.folder_blobs import SCRATCH_NAME
from registry.tables.references import (
    condemn,
    condemned,
    condemned_prefixes,
    referenced,
    referenced_between,
    spare,
    unnoticed,
)

GRACE = timedelta(hours=24)
"""How long a blob is kept that nothing refers to: longer than any publish takes."""

RUN_GRACE = timedelta(days=14)
"""How long the checkpoints of an interrupted training are kept, so that it can resume."""

LOCK_NAME = "gc.lock"
"""The lock in the registry's folder that keeps others from collecting garbage."""

_PREFIX = re.compile("[0-9a-f]{2}")

_BATCH = 200
"""Blobs of one write transaction: few, so that no publisher waits for long."""

_PAUSE = 0.01
"""Seconds between two such transactions: longer than a waiting writer sleeps between tries."""


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
        runs: How many interrupted training runs were removed.
    """

    removed: int = 0
    removed_bytes: int = 0
    condemned: int = 0
    condemned_bytes: int = 0
    leftovers: int = 0
    runs: int = 0


def collect_garbage(
    catalog: Catalog,
    *,
    dry_run: bool = False,
    grace: timedelta = GRACE,
    progress: Callable[[float], None] = lambda done: None,
) -> Collection:
    """Remove blobs that nothing has referred to for long, and leftovers of killed processes.

    Args:
        catalog: The registry.
        dry_run: Whether to change nothing and only say what would be removed.
        grace: How old an unreferenced blob must be to be condemned, and how long it then stays.
        progress: Called now and then with the part of the blobs that is done, from 0 to 1.

    Raises:
        StorageError: A file cannot be moved or removed.
        DatabaseError: The database cannot be used, or knows less than the records beside it, or
            these are of another registry.
    """
    removed: list[int] = []
    marked: list[int] = []
    with nullcontext() if dry_run else collection_lock(catalog):
        now = datetime.now(UTC)
        before = now - grace
        if not dry_run:
            with _turn(catalog, dry_run) as connection:
                catalog.log.lock(connection)  # so that no process writes after this is read
                # The bytes of another registry are not garbage.
                catalog.log.require_own_records(connection)
            remove_unneeded(catalog.store)
        with _turn(catalog, dry_run) as connection:
            doomed = condemned_prefixes(connection, before=before)
        _require_rows(catalog)
        if doomed:
            _require_files(catalog)
        if not dry_run:
            _empty_trash(catalog, before)  # of an interrupted collection
        there = {prefix for prefix in catalog.blobs.prefixes() if _PREFIX.fullmatch(prefix)}
        for span, found in _spans(catalog, there, doomed, progress):
            is_doomed = any(span[0][:2] <= prefix <= span[1][:2] for prefix in doomed)
            gone = _sweep(catalog, span, found, before, dry_run) if is_doomed else []
            old = [digest for digest, blob in found.items() if blob.modified < before]
            new = _condemn(catalog, sorted({*old} - {*gone}), now, dry_run)
            removed += [found[digest].size for digest in gone]
            marked += [found[digest].size for digest in new]
        progress(1.0)
        leftovers = _clear_leftovers(catalog, before, dry_run)
        if not dry_run:
            _clear_records(catalog)
        runs = _clear_runs(catalog.home, now - max(grace, RUN_GRACE), dry_run)
        if (removed or marked) and not dry_run:
            with catalog.database.write() as connection:
                catalog.log.append(
                    connection,
                    "gc",
                    removed=len(removed),
                    condemned=len(marked),
                    bytes=sum(removed),
                )
    return Collection(len(removed), sum(removed), len(marked), sum(marked), leftovers, runs)


def _spans(
    catalog: Catalog, there: set[str], doomed: set[str], progress: Callable[[float], None]
) -> Iterator[tuple[tuple[str, str], dict[str, Stored]]]:
    """Yield spans of digests, from the first to the last, and their blobs that nothing refers to.

    Each span but the last has a batch of such blobs or more: each batch waits for its turn.
    """
    prefixes = sorted(there | doomed)
    first, found = "", dict[str, Stored]()
    for prefix in prefixes:
        progress(int(prefix, 16) / 256)
        first = first or prefix + "0" * 62
        last = prefix + "f" * 62
        if prefix in there:
            with catalog.database.read() as connection:
                known = referenced_between(connection, prefix + "0" * 62, last)
            found |= {blob.digest: blob for blob in catalog.blobs.unknown(prefix, known)}
        if len(found) >= _BATCH or prefix == prefixes[-1]:
            yield (first, last), found
            first, found = "", {}


@contextmanager
def collection_lock(catalog: Catalog) -> Iterator[None]:
    """Keep others from collecting garbage during the block, on all machines.

    Raises:
        StorageError: The registry's folder cannot be written.
        DatabaseError: The database cannot be used.
    """
    with (
        storage_errors("lock", catalog.home),
        FileLock(catalog.home / LOCK_NAME),
        catalog.database.keeping_blobs(),
    ):
        yield


def _sweep(
    catalog: Catalog,
    span: tuple[str, str],
    found: Container[str],
    before: datetime,
    dry_run: bool,
) -> list[str]:
    """Remove the blobs of a span that were condemned before a time; return their digests."""
    gone: list[str] = []
    first, last = span
    while True:
        with _turn(catalog, dry_run) as connection:
            batch = condemned(connection, first, last, before=before, limit=_BATCH)
            garbage = sorted(set(batch) - referenced(connection, batch))
            garbage = [digest for digest in garbage if digest in found]
            if not dry_run:
                spare(connection, set(batch) - set(garbage))
        if not dry_run:
            catalog.blobs.discard(garbage)
            removed = _empty_trash(catalog, before)
            garbage = [digest for digest in garbage if digest in removed]
        gone += garbage
        if len(batch) < _BATCH:
            return gone
        first = f"{batch[-1]}0"


def _empty_trash(catalog: Catalog, before: datetime) -> set[str]:
    """Empty the trash, but bring back blobs that something refers to; return the removed ones."""
    trash, removed = catalog.blobs.trash(), set[str]()
    names = sorted(trash)
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        with _turn(catalog, dry_run=False) as connection:
            catalog.log.lock(connection)  # held, too, by each process that ends a publish
            digests = {trash[name].digest for name in batch}
            wanted = referenced(connection, digests)
            for digest in sorted(wanted):
                catalog.blobs.ensure_in_place(digest)
            spare(connection, digests - wanted)
        # The lock was held to the end: without it, the commit would have failed.
        gone = [name for name in batch if trash[name].digest not in wanted]
        # Also old copies of blobs that are in their place: object storage keeps them for a while.
        copies = [
            name
            for name in batch
            if trash[name].digest in wanted
            and trash[name].modified < before
            and catalog.blobs.ensure_in_place(trash[name].digest) == trash[name].size
        ]
        catalog.blobs.remove([*gone, *copies])
        removed.update(trash[name].digest for name in gone)
    return removed


def _condemn(catalog: Catalog, old: list[str], now: datetime, dry_run: bool) -> list[str]:
    """Condemn the blobs that nothing refers to; return those that were not condemned before."""
    new: list[str] = []
    for start in range(0, len(old), _BATCH):
        batch = old[start : start + _BATCH]
        with _turn(catalog, dry_run) as connection:
            new += unnoticed(connection, batch) if dry_run else condemn(connection, batch, now)
    return new


@contextmanager
def _turn(catalog: Catalog, dry_run: bool) -> Iterator[Connection]:
    """Yield a connection for a batch, and let others write before the next one."""
    if dry_run:
        with catalog.database.read() as connection:
            yield connection
        return
    with catalog.database.write() as connection:
        yield connection
    time.sleep(_PAUSE)


def _clear_leftovers(catalog: Catalog, before: datetime, dry_run: bool) -> int:
    """Remove old scratch files, and folders written out for versions that are gone."""
    cache, tmp = catalog.home / CACHE_NAME, catalog.home / SCRATCH_NAME
    with storage_errors("clear", catalog.home):
        scratch = [] if tmp.is_symlink() else [*tmp.glob(".*.tmp")]
        old = [path for path in (*scratch, *scratch_folders(cache)) if _is_older(path, before)]
        folders = unused_folders(cache)
        with catalog.database.read() as connection:
            gone = folders.keys() - referenced(connection, folders.keys())
        gone = {name for name in gone if _is_older(folders[name], before)}
        if dry_run:
            return len(old) + len(gone)
        for path in old:
            is_folder = path.is_dir() and not path.is_symlink()
            shutil.rmtree(path) if is_folder else path.unlink(missing_ok=True)
    remove_dead_readers(cache)
    return len(old) + (take_away(cache, gone) if gone else 0)


def _require_rows(catalog: Catalog) -> None:
    """Refuse to continue if versions or commits lost their rows: they are not garbage."""
    lost = next(chain(missing_versions(catalog), missing_commits(catalog)), None)
    if lost is not None:
        raise AlteredRowsError(
            f"{lost} has lost its rows in the database: the log has it, and its bytes are there. "
            "Nothing was removed, since no row refers to those bytes.",
            lost,
        )


def _require_files(catalog: Catalog) -> None:
    """Refuse to remove bytes that a manifest or a list of files names, but no row."""
    of_versions = (f"{version}: its manifest" for version in without_files(catalog))
    altered = next(chain(of_versions, without_tree_files(catalog)), None)
    if altered is not None:
        raise AlteredRowsError(
            f"{altered} names files that no row in the database refers to. Nothing was removed, "
            "since their bytes may be among those that nothing refers to.",
            altered,
        )


def _clear_records(catalog: Catalog) -> None:
    """Remove the records of changes that were never committed, if later ones were."""
    with catalog.database.read() as connection:
        head, _ = catalog.log.head(connection)
    for sequence, digest in catalog.log.records.pending():
        if sequence < head:
            catalog.log.records.remove_pending(sequence, digest)


def _clear_runs(home: Path, before: datetime, dry_run: bool) -> int:
    """Remove the training runs that were interrupted before a time; return how many."""
    old = [folder for folder, written in abandoned_runs(home) if written < before]
    if dry_run:
        return len(old)
    removed = 0
    for folder in old:
        # The same run may start again at any moment.
        with suppress(Timeout), run_lock(folder):
            if last_written(folder) < before:
                with storage_errors("remove", folder):
                    shutil.rmtree(folder)
                removed += 1
    return removed


def _is_older(path: Path, time: datetime) -> bool:
    try:
        return datetime.fromtimestamp(path.lstat().st_mtime, UTC) < time
    except FileNotFoundError:
        return False
