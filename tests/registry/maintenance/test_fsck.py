import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder, Version
from registry.errors import (
    AlteredLogError,
    AlteredRowsError,
    DamagedBlobError,
    DamagedDatabaseError,
    DatabaseError,
)
from registry.maintenance import integrity
from registry.maintenance.fsck import check_registry
from registry.maintenance.rebuild import rebuild
from registry.storage import folder_blobs
from registry.storage.files import CHUNK, open_file
from tests.registry.maintenance.conftest import damage, texts

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")


@pytest.fixture
def version(stack: Version) -> Version:
    return stack


def weights(catalog: Catalog, version: Version) -> Path:
    return catalog.blobs.path(catalog.manifest(version).files["head/weights.bin"].sha256)


@pytest.mark.parametrize("full", [False, True])
def test_a_sound_registry_is_sound(catalog: Catalog, version: Version, full: bool) -> None:
    report = check_registry(catalog, full=full)
    assert (report.status, report.findings, report.blobs) == (0, (), 7)
    sizes = [path.stat().st_size for path in catalog.blobs.root.rglob("*") if path.is_file()]
    assert report.bytes == (sum(sizes) if full else 0)


@pytest.mark.parametrize(
    ("content", "quick"), [(None, True), (b"", True), (b"right!", True), (b"wrong", False)]
)
def test_damaged_bytes_are_named_and_left_as_they_are_without_repair(
    catalog: Catalog, version: Version, content: bytes | None, quick: bool
) -> None:
    path = weights(catalog, version)
    damage(path, content)
    assert check_registry(catalog).status == (2 if quick else 0)
    report = check_registry(catalog, full=True)
    assert (report.status, len(report.findings)) == (2, 1)
    assert f"alice/sst2@1: head/weights.bin: expected SHA-256 {path.name}" in texts(report)
    assert "If it was pulled, it can be fetched again" in texts(report)
    assert report.findings[0].about is DamagedBlobError
    assert (path.read_bytes() if path.exists() else None) == content


def test_repair_sets_aside_what_cannot_be_fetched(
    catalog: Catalog, version: Version, make_folder: MakeFolder
) -> None:
    path = weights(catalog, version)
    damage(path, b"wrong")
    report = check_registry(catalog, full=True, repair=True)
    assert report.status == 2
    assert [kept.read_bytes() for kept in catalog.blobs.quarantine.iterdir()] == [b"wrong"]
    assert not path.exists()
    assert check_registry(catalog).status == 2


def test_repair_fetches_again_what_was_pulled(
    catalog: Catalog, other_catalog: Catalog, version: Version
) -> None:
    other_catalog.pull(version.ref, catalog)
    damage(weights(other_catalog, version), b"wrong")
    damage(other_catalog.blobs.path(version.manifest_digest), None)
    assert check_registry(other_catalog, full=True, repair=True).status == 1
    assert check_registry(other_catalog, full=True).status == 0
    other_catalog.folder(version)


@pytest.mark.sqlite
def test_an_index_that_misses_rows_is_damage(catalog: Catalog, version: Version) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("PRAGMA writable_schema=ON"))
        connection.execute(
            text(
                "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master"
                " WHERE name = 'ix_parents_digest') WHERE name = 'ix_files_sha256'"
            )
        )
    catalog.close()
    assert "is damaged: " in texts(check_registry(catalog, full=True))


@pytest.mark.once
def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_looked_at(
    catalog: Catalog, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights(catalog, version)

    def refuse(opened: Path, **how: Any) -> Any:
        if opened == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return open_file(opened, **how)

    monkeypatch.setattr(folder_blobs, "open_file", refuse)
    report = check_registry(catalog, full=True, repair=True)
    assert (report.status, report.blobs) == (2, 7)
    assert f"cannot be read (Permission denied) at {path}. It cannot" in texts(report)


@pytest.mark.once
def test_what_lies_among_the_blobs_and_is_none_is_noted_and_left(
    catalog: Catalog, version: Version
) -> None:
    digest, root = version.manifest_digest, catalog.blobs.root
    shard = root / digest[:2] / digest[2:4]
    strays = [root.parent / "README", root / "leftover", shard / ".tmp", root / "00" / digest]
    for path in strays:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"whatever")
    strays.append(root / "folder")
    strays[-1].mkdir()
    report = check_registry(catalog, repair=True)
    assert (report.status, [finding.state for finding in report.findings]) == (0, ["note"])
    named = texts(report).partition(": ")[2].partition(". ")[0]
    assert named == ", ".join(sorted(map(str, strays)))
    strays.append(root / "zz")
    strays[-1].mkdir()
    assert (
        texts(check_registry(catalog)).count(" and 1 more. hubkit neither reads nor removes them.")
        == 1
    )
    assert all(path.exists() for path in strays)


@pytest.mark.parametrize("page", [1, 3])
def test_blobs_are_found_page_by_page(
    catalog: Catalog,
    version: Version,
    make_folder: MakeFolder,
    monkeypatch: pytest.MonkeyPatch,
    page: int,
) -> None:
    for number in range(5):
        catalog.publish(AdapterRef.parse(f"more-{number}"), make_folder(content=b"shared"))
    expected = {path.name for path in catalog.blobs.root.rglob("*/*/*")}
    monkeypatch.setattr(integrity, "_PAGE", page)
    found = [digest for digest, _ in integrity.expected_blobs(catalog.database)]
    assert found == sorted(expected)


@pytest.mark.once
def test_large_files_are_hashed_too(
    catalog: Catalog, version: Version, make_folder: MakeFolder
) -> None:
    ref = AdapterRef.parse("large")
    large = catalog.publish(ref, make_folder(content=b"x" * (CHUNK + 1)))
    assert check_registry(catalog, full=True).bytes > CHUNK
    damage(weights(catalog, large), b"y" * (CHUNK + 1))
    assert "large@1: head/weights.bin: expected" in texts(check_registry(catalog, full=True))


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


@pytest.mark.sqlite
def test_a_row_that_refers_to_nothing_is_damage(catalog: Catalog, version: Version) -> None:
    import sqlite3

    with sqlite3.connect(catalog.database.path) as connection:
        connection.execute("DELETE FROM revisions WHERE id = 1")
    connection.close()
    report = check_registry(catalog)
    assert report.status == 2
    assert "refers to nothing" in texts(report)
    assert any(one.about in (AlteredLogError, DamagedDatabaseError) for one in report.findings)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("revisions.created_at", "garbage"),
        ("revisions.created_at", "2024-02-31 00:00:00.000000"),
        ("repositories.deleted_at", 5),
        ("repositories.name", b"\xff"),
        ("revisions.number", "seven"),
        ("files.size", 0.5),
        ("metrics.value", "much"),
        ("metrics.higher_is_better", 2),
        ("tags.position", "first"),
        ("log.at", "now"),
        ("log_head.sequence", "last"),
    ],
)
def test_a_value_of_another_type_is_damage_that_a_rebuild_mends(
    catalog: Catalog, version: Version, column: str, value: object
) -> None:
    table, _, name = column.partition(".")
    with catalog.database.write() as connection:
        connection.exec_driver_sql("PRAGMA ignore_check_constraints=ON")
        connection.exec_driver_sql(f"UPDATE {table} SET {name} = ?", (value,))
    catalog.close()
    report = check_registry(catalog)
    assert report.status == 2
    assert f"rows of {table} have a value of the wrong type in {name}" in texts(report)
    assert rebuild(catalog).problems == ()
    assert check_registry(catalog, full=True).findings == ()
    assert catalog.resolve(REF) == version


@pytest.mark.sqlite
def test_a_file_that_is_no_database_is_an_error(catalog: Catalog, version: Version) -> None:
    catalog.database.close()
    catalog.database.path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseError, match="cannot be read as a SQLite database"):
        check_registry(catalog)
