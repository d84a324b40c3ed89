"""What keeps a registry whole, on each database and with each storage.

Each database is tested with one storage; `make torture` tests it with the others, too. Most do not
need the protocol of S3.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder, Version, open_catalog, read_folder
from registry.errors import ConflictError
from registry.home import find_catalog
from registry.maintenance import backup
from registry.maintenance.backup import back_up, restore
from registry.maintenance.bundle import export_bundle, import_bundle
from registry.maintenance.doctor import examine
from registry.maintenance.fsck import check_registry
from registry.maintenance.rebuild import rebuild
from registry.search.search import search
from registry.storage.object_blobs import ObjectBlobStore
from tests.registry.maintenance.conftest import GONE, ONE, filled, make_busy, push_everything
from tests.support.remembered import Remembered
from tests.support.rows import rows_of, without_ids

MakeFolder = Callable[..., Folder]
OpenAnywhere = Callable[[str], Catalog]

pytestmark = pytest.mark.parametrize(
    ("database", "open_anywhere"),
    [
        ("sqlite", "folder"),
        ("postgresql", "memory"),
        pytest.param("sqlite", "s3", marks=pytest.mark.torture),
        pytest.param("postgresql", "s3", marks=pytest.mark.torture),
        pytest.param("postgresql", "folder", marks=pytest.mark.torture),
    ],
    indirect=True,
)


@pytest.fixture
def busy(
    open_anywhere: OpenAnywhere,
    tmp_path_factory: pytest.TempPathFactory,
    make_folder: MakeFolder,
    remembered: Remembered,
) -> Catalog:
    catalog = open_anywhere("registry")

    def fill() -> None:
        # It stays: damaged bytes are fetched again from there.
        source = open_catalog(tmp_path_factory.mktemp("source"))
        make_busy(catalog, source, make_folder)
        push_everything(catalog, make_folder)
        source.close()

    return filled("everywhere", remembered, [catalog], make_folder, fill)


def remake(catalog: Catalog) -> Catalog:
    """The same registry, found anew."""
    server = getattr(catalog.database.backend, "engine", None)
    database = None
    if server is not None and server.dialect.name == "postgresql":
        url = server.url.set(drivername="postgresql")
        database = url.render_as_string(hide_password=False)
    storage = catalog.blobs.url if isinstance(catalog.blobs, ObjectBlobStore) else None
    return find_catalog(catalog.home, database=database, storage=storage)


def test_a_backup_is_restored_to_where_it_came_from_and_to_a_plain_folder(
    busy: Catalog, open_anywhere: OpenAnywhere, make_folder: MakeFolder, tmp_path: Path
) -> None:
    copied = back_up(busy, tmp_path / "backup")
    assert copied.damaged == ()
    assert back_up(busy, tmp_path / "backup").blobs == 0
    copy = open_catalog(tmp_path / "backup", create=False)
    assert check_registry(copy, full=True).findings == ()
    texts = {name: rows_of(busy)[name] - rows_of(copy)[name] for name in rows_of(busy)}
    assert not any(rows for name, rows in texts.items() if name != "text")
    other = open_anywhere("other-registry")
    other.close()
    target = remake(other)
    restore(tmp_path / "backup", target)
    restore(tmp_path / "backup", find_catalog(tmp_path / "plain"))
    for restored, compared in ((other, busy), (open_catalog(tmp_path / "plain"), copy)):
        assert rows_of(restored) == rows_of(compared)
        assert check_registry(restored, full=True).findings == ()
        assert read_folder(restored.folder(restored.resolve(ONE))).manifest.kind == "adapter"
        assert len(search(restored, text="two").items) == 1
        with pytest.raises(ConflictError, match="was deleted"):
            restored.publish(GONE, make_folder())
        assert restored.publish(ONE, make_folder()).number == 9
    with pytest.raises(ConflictError, match=r"is in the way|holds a registry already"):
        restore(tmp_path / "backup", target)
    for opened in (target, copy):
        opened.close()


def test_what_is_published_while_a_backup_is_restored_there_is_not_lost(
    open_anywhere: OpenAnywhere,
    make_folder: MakeFolder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalog, other = map(open_anywhere, ("registry", "other-registry"))
    catalog.publish(ONE, make_folder())
    back_up(catalog, tmp_path / "backup")
    copy_blobs, published = backup._copy_blobs, list[Version]()

    def publish_first(*arguments: Any) -> Any:
        published.append(other.publish(ONE, make_folder()))
        return copy_blobs(*arguments)

    target = remake(other)
    with monkeypatch.context() as patch:
        patch.setattr(backup, "_copy_blobs", publish_first)
        with pytest.raises(ConflictError, match=r"is in the way|holds a registry already"):
            restore(tmp_path / "backup", target)
    assert other.resolve(ONE) == published[0]
    assert check_registry(other, full=True).findings == ()
    target.close()


def test_fsck_finds_and_mends(busy: Catalog) -> None:
    assert check_registry(busy, full=True).findings == ()
    pulled = busy.resolve(AdapterRef.parse("two@1"))
    digest = busy.manifest(pulled).files["head/weights.bin"].sha256
    if isinstance(busy.blobs, ObjectBlobStore):
        bucket, key = busy.blobs.bucket, f"sha256/{digest[:2]}/{digest[2:4]}/{digest}"
        assert bucket.size(key) == 9
        bucket.obstore.put(bucket.store, key, b"x")
    else:
        busy.blobs.path(digest).chmod(0o600)
        busy.blobs.path(digest).write_bytes(b"x")
    (finding,) = check_registry(busy).findings
    assert f"found 1 bytes instead of 9 at {busy.blobs.location(digest)}" in finding.text
    (finding,) = check_registry(busy, repair=True).findings
    assert (finding.state, "quarantine/" in finding.text) == ("repaired", True)
    assert check_registry(busy, full=True).findings == ()


def test_the_database_is_made_anew_from_the_blobs_and_records(busy: Catalog) -> None:
    before = without_ids(rows_of(busy))
    server = busy.database.backend.engine.dialect.name == "postgresql"
    if server:
        with busy.database.write() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    busy.close()
    if not server:
        busy.database.path.unlink()
    again = remake(busy)
    assert "PROBLEM" in {check.state.upper() for check in examine(again)}
    assert rebuild(again).problems == ()
    assert check_registry(again, full=True).findings == ()
    again.history.complete_listings()  # as a hub does when it starts
    after = without_ids(rows_of(again))
    for table in before.keys() - {"log", "log_head"}:
        assert after[table] == before[table], table
    assert "problem" not in {check.state for check in examine(again)}
    again.close()


def test_a_bundle_goes_from_one_to_another(busy: Catalog, open_anywhere: OpenAnywhere) -> None:
    bundle = io.BytesIO()
    version = export_bundle(busy, AdapterRef.parse("two"), bundle)
    other = open_anywhere("other-registry")
    for _ in range(2):
        bundle.seek(0)
        assert import_bundle(other, bundle)[-1].manifest_digest == version.manifest_digest
    assert check_registry(other, full=True).findings == ()
    assert other.lineage(other.resolve(version.ref)).parents[0].version is not None
