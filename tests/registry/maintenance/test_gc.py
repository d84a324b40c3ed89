import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from unittest import mock

import pytest
from filelock import FileLock
from sqlalchemy import Connection, delete, select, text, update

from registry import AdapterRef, Catalog, Folder, open_catalog
from registry.accounts.accounts import Accounts
from registry.database import connections as sqlite_connections
from registry.errors import AlteredRowsError, DatabaseError
from registry.history.committing import Committer
from registry.log.log import Log
from registry.maintenance import gc
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import GRACE, RUN_GRACE, Collection, collect_garbage
from registry.tables.models import FILES, TREES
from registry.tables.references import condemn
from tests.registry.history.conftest import puts
from tests.support.trees import info_of

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")
AT_ONCE = timedelta(0)


def stored(catalog: Catalog) -> set[str]:
    return {path.name for path in (catalog.home / "blobs").rglob("*") if path.is_file()}


def grow_old(catalog: Catalog, age: timedelta) -> None:
    past = time.time() - age.total_seconds()
    for folder in ("blobs", "tmp", "cache", "runs"):
        for path in (catalog.home / folder).rglob("*"):
            os.utime(path, (past, past))


@pytest.fixture
def deleted(catalog: Catalog, make_folder: MakeFolder) -> Folder:
    """A folder that was published under a name that was deleted, beside one that stays."""
    catalog.publish(AdapterRef.parse("stays"), make_folder())
    folder = make_folder()
    catalog.publish(REF, folder)
    catalog.delete(REF)
    return folder


def test_what_nothing_refers_to_goes_with_the_second_collection_after_the_grace_period(
    catalog: Catalog, deleted: Folder
) -> None:
    before = stored(catalog)
    with catalog.database.read() as connection:
        kept = {*connection.scalars(select(TREES.c.digest))}
    trees = {one for one in before if b'"hubkit_tree"' in catalog.blobs.path(one).read_bytes()}
    (tree,) = trees - kept
    gone = {deleted.manifest.digest, deleted.manifest.files["head/weights.bin"].sha256, tree}
    assert collect_garbage(catalog) == Collection()  # younger than the grace period
    grow_old(catalog, 2 * GRACE)
    first = collect_garbage(catalog)
    assert (first.condemned, first.removed) == (3, 0)
    assert collect_garbage(catalog) == Collection()  # condemned, but not for long enough
    assert stored(catalog) == before
    second = collect_garbage(catalog, grace=AT_ONCE)
    assert (second.condemned, second.removed) == (0, 3)
    assert stored(catalog) == before - gone
    assert second.removed_bytes == first.condemned_bytes > 0
    catalog.folder(catalog.resolve(AdapterRef.parse("stays")))
    assert catalog.blobs.trash() == {}


@pytest.mark.parametrize("change", ["another digest", "gone"])
def test_bytes_that_a_manifest_names_stay_though_their_row_is_altered(
    catalog: Catalog, make_folder: MakeFolder, deleted: Folder, change: str
) -> None:
    altered = delete(FILES) if change == "gone" else update(FILES).values(sha256="ab" * 32)
    with catalog.database.write() as connection:
        connection.execute(altered)
    grow_old(catalog, 2 * GRACE)
    collect_garbage(catalog)
    before = stored(catalog)
    with pytest.raises(AlteredRowsError, match="stays@1: its manifest names files"):
        collect_garbage(catalog, grace=AT_ONCE)
    assert stored(catalog) == before
    check_registry(catalog, full=True, repair=True)
    assert collect_garbage(catalog, grace=AT_ONCE).removed == 3
    catalog.folder(catalog.resolve(AdapterRef.parse("stays")))


@pytest.mark.sqlite
def test_nobody_publishes_while_the_log_is_compared_with_its_records(
    catalog: Catalog, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.publish(REF, make_folder())
    monkeypatch.setattr(sqlite_connections, "BUSY_SECONDS", 0.05)
    compare, other = Log.require_own_records, open_catalog(catalog.home)

    def try_to_publish(log: Log, connection: Connection) -> None:
        # Two records more than this session knows of would make its database look older.
        with pytest.raises(DatabaseError, match="in use"):
            other.publish(REF, make_folder())
        compare(log, connection)

    monkeypatch.setattr(Log, "require_own_records", try_to_publish)
    assert collect_garbage(catalog) == Collection()


def test_a_dry_run_says_the_same_and_changes_nothing(catalog: Catalog, deleted: Folder) -> None:
    grow_old(catalog, 2 * GRACE)
    before = stored(catalog)
    planned = collect_garbage(catalog, dry_run=True)
    assert planned == collect_garbage(catalog, dry_run=True) == collect_garbage(catalog)
    planned = collect_garbage(catalog, dry_run=True, grace=AT_ONCE)
    assert stored(catalog) == before
    assert planned == collect_garbage(catalog, grace=AT_ONCE)
    assert stored(catalog) < before


def test_a_blob_that_is_published_again_is_spared(catalog: Catalog, deleted: Folder) -> None:
    grow_old(catalog, 2 * GRACE)
    collect_garbage(catalog)
    version = catalog.publish(AdapterRef.parse("again"), deleted)
    assert collect_garbage(catalog, grace=AT_ONCE).removed == 0
    catalog.folder(version)


def test_a_blob_that_is_removed_while_it_is_published_is_stored_again(
    catalog: Catalog, deleted: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collection comes between the bytes and the rows of a publish that found the bytes."""
    grow_old(catalog, 2 * GRACE)
    collect_garbage(catalog)
    collections = iter([True])
    write = catalog.database.write

    def collect_first() -> object:
        if next(collections, False):
            removed = collect_garbage(catalog, grace=AT_ONCE).removed
            assert removed == 3
        return write()

    monkeypatch.setattr(catalog.database, "write", collect_first)
    version = catalog.publish(AdapterRef.parse("again"), deleted)
    catalog.folder(version)


def test_a_condemned_blob_that_a_version_refers_to_stays(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    from sqlalchemy import text

    version = catalog.publish(REF, make_folder())
    with catalog.database.write() as connection:
        connection.execute(
            text("INSERT INTO condemned VALUES (:digest, '2020-01-01 00:00:00.000000')"),
            {"digest": version.manifest_digest},
        )
    assert collect_garbage(catalog, grace=AT_ONCE).removed == 0
    assert catalog.manifest(version)
    with catalog.database.read() as connection:
        assert connection.scalar(text("SELECT count(*) FROM condemned")) == 0


def test_nothing_that_is_referred_to_is_condemned(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    from datetime import UTC, datetime

    version = catalog.publish(REF, make_folder())
    with catalog.database.write() as connection:
        assert condemn(connection, [version.manifest_digest], datetime.now(UTC)) == []


def test_what_killed_processes_left_goes_when_it_is_old(
    catalog: Catalog, deleted: Folder, make_folder: MakeFolder
) -> None:
    kept = catalog.folder(catalog.resolve(AdapterRef.parse("stays")))
    scratch = catalog.home / "tmp" / ".0123.tmp"
    scratch.write_bytes(b"half")
    half = catalog.home / "cache" / f".{'45' * 16}.tmp"
    half.mkdir()
    orphan = catalog.home / "cache" / deleted.manifest.digest
    orphan.mkdir()
    (orphan / "hubkit.json").write_bytes(deleted.manifest.to_json())
    stranger = catalog.home / "tmp" / "mine.txt"
    stranger.write_text("not hubkit's")
    assert collect_garbage(catalog).leftovers == 0
    grow_old(catalog, 2 * GRACE)
    assert collect_garbage(catalog).leftovers == 3
    assert not any(path.exists() for path in (scratch, half, orphan))
    assert kept.exists()
    assert stranger.exists()


@pytest.mark.once
def test_files_that_are_not_hubkits_are_left_alone(catalog: Catalog, deleted: Folder) -> None:
    stranger = catalog.blobs.path(deleted.manifest.digest).with_name("README")
    stranger.write_text("hello")
    grow_old(catalog, 2 * GRACE)
    collect_garbage(catalog)
    collect_garbage(catalog, grace=AT_ONCE)
    assert stranger.exists()


def test_a_registry_without_blobs_has_no_garbage(catalog: Catalog) -> None:
    assert collect_garbage(catalog) == Collection()


def test_many_blobs_go_in_small_batches(
    catalog: Catalog, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "_BATCH", 3)
    for _ in range(5):
        catalog.publish(REF, make_folder())
    catalog.delete(REF)
    grow_old(catalog, 2 * GRACE)
    collect_garbage(catalog)
    assert collect_garbage(catalog, grace=AT_ONCE).removed == 16
    assert stored(catalog) == set()


def test_one_collection_waits_for_another(catalog: Catalog) -> None:
    with gc.collection_lock(catalog):
        thread = threading.Thread(target=collect_garbage, args=(open_catalog(catalog.home),))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


def test_it_is_told_in_the_log(catalog: Catalog, deleted: Folder) -> None:
    grow_old(catalog, 2 * GRACE)
    collect_garbage(catalog)
    with catalog.database.read() as connection:
        last = [*catalog.log.entries(connection)][-1]
    assert (last.action, last.details["condemned"]) == ("gc", 3)


@pytest.mark.once
def test_a_home_that_cannot_be_written_is_a_storage_error(catalog: Catalog, tmp_path: Path) -> None:
    from registry.errors import StorageError

    (catalog.home / "trash").write_text("in the way")
    with pytest.raises(StorageError, match="trash"):
        collect_garbage(catalog)


def test_in_the_cache_only_folders_go_that_hubkit_wrote(catalog: Catalog, deleted: Folder) -> None:
    cache = catalog.home / "cache"
    others = [cache / name for name in ("data", "0", "bases", "ab" * 32, ".mine.tmp")]
    for folder in others:
        folder.mkdir(parents=True)
        (folder / "mine.txt").write_text("mine")
    digest = deleted.manifest.digest
    linked = catalog.home / "elsewhere"
    linked.mkdir()
    (linked / "hubkit.json").write_bytes(deleted.manifest.to_json())
    (cache / digest).symlink_to(linked)
    grow_old(catalog, 2 * GRACE)
    assert collect_garbage(catalog).leftovers == 0
    assert all((folder / "mine.txt").exists() for folder in others)
    assert (linked / "hubkit.json").exists()


@pytest.mark.once
def test_a_cache_that_is_a_link_is_left_alone(
    catalog: Catalog, deleted: Folder, tmp_path: Path
) -> None:
    disk = tmp_path / "disk" / deleted.manifest.digest
    disk.mkdir(parents=True)
    (disk / "hubkit.json").write_bytes(deleted.manifest.to_json())
    shutil.rmtree(catalog.home / "cache", ignore_errors=True)
    (catalog.home / "cache").symlink_to(disk.parent)
    grow_old(catalog, 2 * GRACE)
    os.utime(disk, (0, 0))
    assert collect_garbage(catalog).leftovers == 0
    assert (disk / "hubkit.json").exists()


def test_a_folder_that_was_handed_out_stays_until_its_reader_ends(
    catalog: Catalog, make_folder: MakeFolder, start_python: Callable[..., "subprocess.Popen[str]"]
) -> None:
    version = catalog.publish(REF, make_folder())
    database = None if catalog.database.backend.label.endswith(".db") else _url(catalog)
    reader = start_python(READER, catalog.home, str(REF), database or "")
    assert reader.stdout is not None
    folder = Path(reader.stdout.readline().strip())
    assert folder.name == version.manifest_digest
    catalog.delete(REF)
    grow_old(catalog, 2 * GRACE)
    assert collect_garbage(catalog).leftovers == 0
    assert (folder / "hubkit.json").exists()
    reader.kill()
    reader.communicate()
    assert collect_garbage(catalog, dry_run=True).leftovers == 1
    assert collect_garbage(catalog).leftovers == 1
    assert not folder.exists()
    assert not [*(catalog.home / "cache").glob(".*.reader")]


READER = """
import sys, time
from pathlib import Path
from registry import AdapterRef, open_catalog
catalog = open_catalog(Path(sys.argv[1]), database=sys.argv[3] or None)
print(catalog.folder(catalog.resolve(AdapterRef.parse(sys.argv[2]))), flush=True)
time.sleep(60)
"""


def _url(catalog: Catalog) -> str:
    return catalog.database.backend.engine.url.set(drivername="postgresql").render_as_string(False)


@pytest.mark.once
def test_training_runs_that_broke_off_go_when_they_are_old(catalog: Catalog) -> None:
    runs = catalog.home / "runs"
    for name in ("0" * 16, "1" * 16, "2" * 16, "mine"):
        (runs / name / "checkpoints").mkdir(parents=True)
        (runs / name / "checkpoints" / "state.bin").write_bytes(b"x")
    grow_old(catalog, RUN_GRACE + timedelta(hours=1))
    (runs / ("1" * 16) / "checkpoints" / "state.bin").touch()  # goes on
    with FileLock(runs / f"{'2' * 16}.lock"):  # is trained right now
        assert collect_garbage(catalog, dry_run=True).runs == 1
        assert collect_garbage(catalog).runs == 1
    left = sorted(path.name for path in runs.iterdir() if path.is_dir())
    assert left == ["1" * 16, "2" * 16, "mine"]


@pytest.mark.sqlite
def test_a_dry_run_needs_no_right_to_write(catalog: Catalog, deleted: Folder) -> None:
    grow_old(catalog, 2 * GRACE)
    catalog.close()
    before = {path: path.stat().st_mtime_ns for path in catalog.home.rglob("*")}
    with mock.patch.object(os, "access", lambda path, mode: mode != os.W_OK):
        assert collect_garbage(open_catalog(catalog.home), dry_run=True).condemned == 3
    after = {path: path.stat().st_mtime_ns for path in catalog.home.rglob("*")}
    assert {path: after.get(path) for path in before} == before
    assert not {path.name for path in after.keys() - before.keys()} - {"hubkit.db-shm"}


def test_bytes_in_the_trash_that_a_version_refers_to_are_brought_back(
    catalog: Catalog, deleted: Folder
) -> None:
    """A collection that was slow, or lost its lock, moved what was published meanwhile."""
    version = catalog.publish(AdapterRef.parse("again"), deleted)
    digests = {deleted.manifest.digest, *(info.sha256 for info in deleted.manifest.files.values())}
    catalog.blobs.discard(digests)
    assert {item.digest for item in catalog.blobs.trash().values()} == digests
    catalog.folder(version)  # whoever reads them first brings them back
    assert catalog.blobs.trash() == {}
    catalog.blobs.discard(digests)
    assert collect_garbage(catalog, grace=AT_ONCE).removed == 0
    assert digests <= stored(catalog)
    assert catalog.blobs.trash() == {}
    assert check_registry(catalog, full=True).status == 0


def test_a_dry_run_finds_a_lost_version_in_the_trash_and_leaves_it_there(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    folder = make_folder()
    catalog.publish(REF, folder)
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE commits SET revision_id = NULL"))
        for table in ("files", "metrics", "tags", "origins", "refs", "listings", "revisions"):
            connection.execute(text(f"DELETE FROM {table}"))
    catalog.blobs.discard([folder.manifest.digest])
    trash = catalog.blobs.trash()
    with pytest.raises(AlteredRowsError, match="alice/sst2@1 has lost its rows"):
        collect_garbage(catalog, dry_run=True)
    assert catalog.blobs.trash() == trash


@pytest.mark.parametrize("place", ["condemned", "in the trash"])
def test_a_commit_of_bytes_that_are_about_to_go_ends_with_them_there(
    catalog: Catalog, place: str
) -> None:
    account = Accounts(catalog.store).add_user("ada")
    ref = AdapterRef.parse("ada/x")
    there = catalog.history.create(
        "dataset", ref, account_id=account.id, visibility="public", actor="ada"
    )
    files = {"a.txt": b"small", "b.parquet": b"large"}
    changes = puts(catalog, files)
    assert collect_garbage(catalog, grace=AT_ONCE).condemned == 2
    if place == "in the trash":
        catalog.blobs.discard(sorted(info_of(content).sha256 for content in files.values()))
    commit = Committer(catalog.store).commit(there, "main", changes, title="push", actor="ada")
    for _ in range(3):
        collect_garbage(catalog, grace=AT_ONCE)
    for path, content in files.items():
        file = catalog.history.file(commit, path)
        assert catalog.blobs.examine(file.sha256) == info_of(content)
    assert check_registry(catalog, full=True).findings == ()
