import errno
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder, open_catalog
from registry.database.database import Database
from registry.errors import ConflictError, NewerDatabaseError, RegistryNotFoundError, StorageError
from registry.home import find_catalog
from registry.maintenance.backup import back_up, restore
from registry.maintenance.fsck import check_registry
from registry.maintenance.rebuild import rebuild
from registry.maintenance.schema import downgrade
from tests.support.power import failing_at

pytestmark = pytest.mark.sqlite
MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")


def files(root: Path) -> dict[Path, bytes]:
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_backup_is_a_registry_with_the_same_content(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    versions = [catalog.publish(REF, make_folder()) for _ in range(2)]
    catalog.set_alias(versions[0].ref, "best")
    copied = back_up(catalog, tmp_path / "backup")
    assert (copied.blobs, copied.damaged) == (7, ())
    backup = open_catalog(tmp_path / "backup", create=False)
    assert backup.versions(REF) == catalog.versions(REF)
    assert check_registry(backup, full=True).status == 0
    assert files(backup.blobs.root) == files(catalog.blobs.root)


def test_the_next_backup_copies_what_is_new(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    assert back_up(catalog, tmp_path / "backup").blobs == 0
    catalog.publish(REF, make_folder())
    assert back_up(catalog, tmp_path / "backup").blobs == 3
    backup = open_catalog(tmp_path / "backup", create=False)
    assert len(backup.versions(REF)) == 2
    assert check_registry(backup, full=True).status == 0


def test_another_registry_is_never_written_over(
    catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    catalog.publish(REF, make_folder())
    other_catalog.publish(REF, make_folder())
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").write_bytes(b"jpg")
    (tmp_path / "file").touch()
    for place in (other_catalog.home, tmp_path / "photos", tmp_path / "file"):
        with pytest.raises(ConflictError, match="something else than an earlier backup"):
            back_up(catalog, place)
    (tmp_path / "link").symlink_to(catalog.home)
    for place in (catalog.home, catalog.home / "sub", tmp_path / "link" / "blobs" / "x"):
        with pytest.raises(ConflictError, match="would be lost with it"):
            back_up(catalog, place)
    assert check_registry(catalog, full=True).findings == ()
    assert check_registry(other_catalog, full=True).status == 0


def test_a_registry_that_went_another_way_is_no_earlier_backup(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    open_catalog(tmp_path / "backup").publish(REF, make_folder())
    catalog.publish(REF, make_folder())
    with pytest.raises(ConflictError):
        back_up(catalog, tmp_path / "backup")


def test_what_is_damaged_is_named_and_the_rest_is_copied(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder()
    catalog.publish(REF, folder)
    lost = catalog.blobs.path(folder.manifest.files["head/weights.bin"].sha256)
    lost.unlink()
    copied = back_up(catalog, tmp_path / "backup")
    assert copied.blobs == 3
    assert len(copied.damaged) == 1
    assert copied.damaged[0].startswith("alice/sst2@1: head/weights.bin: ")


def test_bytes_are_checked_on_the_way(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    folder = make_folder(content=b"right")
    catalog.publish(REF, folder)
    path = catalog.blobs.path(folder.manifest.files["head/weights.bin"].sha256)
    path.chmod(0o600)
    path.write_bytes(b"wrong")
    assert len(back_up(catalog, tmp_path / "backup").damaged) == 1
    assert path.name not in {found.name for found in files(tmp_path / "backup")}


def test_a_restored_registry_goes_on_where_the_backup_was_made(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    shutil.rmtree(catalog.home)
    restore(tmp_path / "backup", find_catalog(catalog.home))
    again = open_catalog(catalog.home)
    assert again.publish(REF, make_folder()).number == 2
    assert check_registry(again, full=True).status == 0
    again.database.close()
    again.database.path.unlink()
    rebuild(again)  # its records came along
    assert len(again.versions(REF)) == 2


def test_nothing_is_restored_over_a_registry_or_from_none(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    with pytest.raises(ConflictError, match="is in the way"):
        restore(tmp_path / "backup", find_catalog(catalog.home))
    with pytest.raises(RegistryNotFoundError, match="no backup in"):
        restore(tmp_path / "nowhere", find_catalog(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_an_empty_registry_is_replaced(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    version = catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    open_catalog(tmp_path / "new").close()  # as the first `hubkit list` does
    restored = find_catalog(tmp_path / "new")
    restore(tmp_path / "backup", restored)
    assert restored.resolve(REF) == version
    assert check_registry(restored, full=True).findings == ()


def test_an_interrupted_restoration_is_finished_by_the_next(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.maintenance import backup as module

    catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_install", stop)
        with pytest.raises(KeyboardInterrupt):
            restore(tmp_path / "backup", find_catalog(tmp_path / "new"))
    assert not (tmp_path / "new" / "hubkit.db").exists()
    assert not [*(tmp_path / "new" / "tmp").iterdir()]
    restore(tmp_path / "backup", find_catalog(tmp_path / "new"))
    assert check_registry(open_catalog(tmp_path / "new"), full=True).status == 0


def test_of_two_restorations_at_once_one_is_refused(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.maintenance import backup as module

    version = catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    copy_blobs, raised = module._copy_blobs, list[BaseException]()

    def restore_too() -> None:
        try:
            restore(tmp_path / "backup", find_catalog(tmp_path / "new"))
        except ConflictError as error:
            raised.append(error)

    other = threading.Thread(target=restore_too)

    def start_the_other_first(*arguments: Any) -> Any:
        other.start()
        other.join(0.5)
        assert other.is_alive()  # it waits
        return copy_blobs(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_copy_blobs", start_the_other_first)
        restore(tmp_path / "backup", find_catalog(tmp_path / "new"))
        other.join(20)
    assert "is in the way" in str(raised[0])
    restored = open_catalog(tmp_path / "new")
    assert restored.resolve(REF) == version
    assert check_registry(restored, full=True).findings == ()


def test_a_registry_that_is_made_while_a_backup_is_restored_there_is_not_lost(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from registry.maintenance import backup as module

    catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    copy_blobs, published = module._copy_blobs, []

    def publish_first(*arguments: Any) -> Any:
        published.append(open_catalog(tmp_path / "new").publish(REF, make_folder()))
        return copy_blobs(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_copy_blobs", publish_first)
        with pytest.raises(ConflictError, match="is in the way"):
            restore(tmp_path / "backup", find_catalog(tmp_path / "new"))
    new = open_catalog(tmp_path / "new")
    assert new.resolve(REF) == published[0]
    assert check_registry(new, full=True).findings == ()


def test_records_that_another_registry_can_be_made_of_are_not_written_over(
    catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    theirs = other_catalog.publish(REF, make_folder())
    other_catalog.close()
    other_catalog.database.path.unlink()
    before = files(other_catalog.home)
    with pytest.raises(ConflictError, match="is a record of another registry"):
        restore(tmp_path / "backup", find_catalog(other_catalog.home))
    assert files(other_catalog.log.records.root) == {
        path.relative_to("records"): content
        for path, content in before.items()
        if path.parts[0] == "records"
    }
    assert rebuild(find_catalog(other_catalog.home)).problems == ()
    assert open_catalog(other_catalog.home).resolve(REF) == theirs


def test_over_its_own_lost_database_an_older_backup_is_brought_up_to_date(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    later = catalog.publish(REF, make_folder())
    catalog.close()
    catalog.database.path.unlink()
    again = find_catalog(catalog.home)
    restore(tmp_path / "backup", again)
    assert rebuild(again).problems == ()
    assert again.resolve(REF) == later
    assert check_registry(again, full=True).findings == ()


def test_what_was_noted_of_base_models_comes_back(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    version = catalog.publish(REF, make_folder())
    note = catalog.home / "known-bases" / f"{version.manifest_digest}.json"
    note.parent.mkdir()
    for written in ("first", "then another"):
        note.write_text(written)
        back_up(catalog, tmp_path / "backup")
    restore(tmp_path / "backup", find_catalog(tmp_path / "home"))
    assert (tmp_path / "home" / "known-bases" / note.name).read_text() == "then another"


def test_a_full_disk_leaves_the_earlier_backup_as_it_was(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    catalog.publish(REF, make_folder())
    step, seen = 0, 1
    while True:
        step += 3
        place = Path(shutil.copytree(tmp_path / "backup", tmp_path / "copy"))
        error = None
        with failing_at(step, errno.ENOSPC) as reached:
            try:
                back_up(catalog, place)
            except StorageError as caught:
                error = caught
        assert not [*(place / "tmp").iterdir()] or error is None or seen == 2
        backup = Catalog(place)
        versions = len(backup.versions(REF))
        assert check_registry(backup).status == 0
        backup.close()
        shutil.rmtree(place)
        if not reached:
            break
        # The last steps come after the new database is there, and do not take it away again.
        assert versions in (seen, 2) if error is not None else versions == 2
        seen = seen if error is None else versions
    assert step > 40


def test_a_backup_of_an_older_hubkit_is_restored_and_one_of_a_newer_is_refused(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    database = Database(tmp_path / "backup" / "hubkit.db")
    downgrade(database, "0002")
    restore(tmp_path / "backup", find_catalog(tmp_path / "new"))
    assert len(open_catalog(tmp_path / "new").versions(REF)) == 1
    assert database.migration() == "0002"
    with database.write() as connection:
        connection.execute(text("UPDATE hubkit_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(NewerDatabaseError, match=r"backup/hubkit.db is at migration 9999"):
        restore(tmp_path / "backup", find_catalog(tmp_path / "newer"))
    assert not (tmp_path / "newer").exists()


@pytest.mark.sqlite
def test_a_second_backup_mends_what_became_of_the_first(
    catalog: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    for _ in range(3):
        catalog.publish(REF, make_folder())
    back_up(catalog, tmp_path / "backup")
    backup = Catalog(tmp_path / "backup")
    cut, flipped, lost, *_ = sorted(path for path in backup.blobs.root.rglob("*/*/*"))
    for path, content in ((cut, cut.read_bytes()[:5]), (flipped, b"X" + flipped.read_bytes()[1:])):
        path.chmod(0o600)
        path.write_bytes(content)
    lost.unlink()
    backup.log.records.path(2).unlink()
    assert check_registry(backup).status == 2
    copied = back_up(catalog, tmp_path / "backup")
    assert (copied.blobs, copied.mended, copied.damaged) == (1, 3, ())
    assert check_registry(backup, full=True).status == 0
    again = back_up(catalog, tmp_path / "backup")
    assert (again.blobs, again.mended, again.bytes) == (0, 0, 0)


@pytest.mark.sqlite
def test_a_quick_check_finds_a_manifest_that_was_cut_off(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    version = catalog.publish(REF, make_folder())
    path = catalog.blobs.path(version.manifest_digest)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:10])
    assert check_registry(catalog).status == 2
