from collections.abc import Callable

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder, Version
from registry.errors import AlteredRowsError
from registry.maintenance.fsck import check_registry
from registry.maintenance.rebuild import rebuild
from tests.registry.maintenance.conftest import damage, texts

MakeFolder = Callable[..., Folder]


@pytest.mark.parametrize("full", [False, True])
def test_a_sound_registry_is_sound(catalog: Catalog, version: Version, full: bool) -> None:
    report = check_registry(catalog, full=full)
    assert (report.status, report.findings, report.blobs) == (0, (), 7)
    sizes = [path.stat().st_size for path in catalog.blobs.root.rglob("*") if path.is_file()]
    assert report.bytes == (sum(sizes) if full else 0)


def test_an_altered_log_is_named_and_left(catalog: Catalog, version: Version) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE log SET actor = 'eve' WHERE sequence = 2"))
    report = check_registry(catalog, full=True, repair=True)
    assert report.status == 2
    assert "Entry 2 was altered" in texts(report)
    rebuild(catalog)  # from the records, which say what it was
    assert check_registry(catalog, full=True).status == 0
    with catalog.database.read() as connection:
        assert "eve" not in {entry.actor for entry in catalog.log.entries(connection)}


def test_an_entry_that_is_filed_under_another_name_is_named(
    catalog: Catalog, version: Version
) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE log SET folded = 'other' WHERE sequence = 1"))
    report = check_registry(catalog, full=True, repair=True)
    assert report.status == 2
    assert "Entry 1 is filed under 'other': expected 'one'" in texts(report)
    assert "lacks the publication" not in texts(report)  # as if it were of before there was a log
    rebuild(catalog)
    assert check_registry(catalog, full=True).findings == ()


@pytest.mark.parametrize("content", [None, b"{}"])
def test_records_are_written_again(
    catalog: Catalog, version: Version, content: bytes | None
) -> None:
    path = catalog.log.records.path(1)
    before = path.read_bytes()
    damage(path, content)
    assert "entry 1" in texts(check_registry(catalog, full=True))
    assert check_registry(catalog, full=True, repair=True).status == 1
    assert path.read_bytes() == before


def test_the_last_record_is_written_again_though_what_was_put_is_there(
    catalog: Catalog, version: Version, make_folder: MakeFolder
) -> None:
    ((last, _),) = catalog.log.records.pending()
    damage(catalog.log.records.path(last), b"{}")
    with pytest.raises(AlteredRowsError, match=f"is not entry {last} of this registry's log"):
        catalog.publish(AdapterRef.parse("more"), make_folder())
    assert check_registry(catalog, full=True).status == 2
    assert check_registry(catalog, full=True, repair=True).status == 1
    catalog.publish(AdapterRef.parse("more"), make_folder())
    assert check_registry(catalog, full=True).findings == ()
