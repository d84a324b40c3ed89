from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, DatabaseError, Folder, Version
from registry.maintenance.fsck import Report, check_registry
from registry.search import search

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")
METRIC = {
    "dataset": "sst2",
    "split": "test",
    "name": "accuracy",
    "value": 0.5,
    "higher_is_better": True,
}


@pytest.fixture
def version(catalog: Catalog, make_folder: MakeFolder) -> Version:
    one = catalog.publish(AdapterRef.parse("one"), make_folder())
    parents = [{"ref": str(one.ref), "digest": one.manifest_digest}]
    folder = make_folder(
        content=b"right", kind="stack", parents=parents, tags=["t"], metrics=[METRIC]
    )
    published = catalog.publish(REF, folder)
    catalog.set_alias(published.ref, "best")
    return catalog.resolve(published.ref)


def weights(catalog: Catalog, version: Version) -> Path:
    return catalog.blobs.path(catalog.manifest(version).files["head/weights.bin"].sha256)


def damage(path: Path, content: bytes | None) -> None:
    path.chmod(0o600)
    path.unlink() if content is None else path.write_bytes(content)


def texts(report: Report) -> str:
    return "\n".join(finding.text for finding in report.findings)


@pytest.mark.parametrize("full", [False, True])
def test_a_sound_registry_is_sound(catalog: Catalog, version: Version, full: bool) -> None:
    report = check_registry(catalog, full=full)
    assert (report.status, report.findings, report.blobs) == (0, (), 5)
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
    assert "`hubkit fsck --repair` sets it aside" in texts(report)
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


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE revisions SET task = 'other' WHERE kind = 'stack'", "revisions"),
        ("UPDATE revisions SET size = 1 WHERE kind = 'stack'", "revisions"),
        ("UPDATE files SET path = 'x' WHERE path = 'head/weights.bin' AND revision_id = 2", "fil"),
        ("DELETE FROM tags", "tags"),
        ("UPDATE metrics SET value = 1.0", "metrics"),
        ("UPDATE parents SET ref = 'other@1'", "parents"),
    ],
)
def test_rows_that_say_something_else_than_the_manifest_are_written_again(
    catalog: Catalog, version: Version, statement: str, table: str
) -> None:
    with catalog.database.write() as session:
        session.execute(text(statement))
    assert check_registry(catalog).status == 0
    report = check_registry(catalog, full=True)
    assert report.status == 2
    assert "alice/sst2@1: what " in texts(report)
    assert table in texts(report)
    assert check_registry(catalog, full=True, repair=True).status == 1
    assert check_registry(catalog, full=True).status == 0
    assert catalog.resolve(REF) == version
    assert search(catalog, text="sst2").items == (version,)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM revision_text WHERE rowid = 2",
        "UPDATE revision_text SET name = 'x' WHERE rowid = 2",
    ],
)
def test_the_search_index_is_written_again(
    catalog: Catalog, version: Version, statement: str
) -> None:
    with catalog.database.write() as session:
        session.execute(text(statement))
    assert "alice/sst2@1: what the search index say" in texts(check_registry(catalog, full=True))
    assert check_registry(catalog, full=True, repair=True).status == 1
    assert search(catalog, text="sst2").items == (version,)


def test_an_alias_of_another_adapters_version_is_named_and_left(
    catalog: Catalog, version: Version
) -> None:
    with catalog.database.write() as session:
        session.execute(text("UPDATE refs SET revision_id = 1"))
    report = check_registry(catalog, repair=True)
    assert report.status == 2
    assert "alice/sst2@best names a version of another adapter" in texts(report)


def test_an_altered_log_is_named_and_left(catalog: Catalog, version: Version) -> None:
    with catalog.database.write() as session:
        session.execute(text("UPDATE log SET actor = 'eve' WHERE sequence = 2"))
    report = check_registry(catalog, full=True, repair=True)
    assert report.status == 2
    assert "Entry 2 was altered" in texts(report)


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


def test_versions_from_before_there_was_a_log_are_added_to_it(
    catalog: Catalog, version: Version
) -> None:
    with catalog.database.write() as session:
        session.execute(text("DELETE FROM log"))
        session.execute(text(f"UPDATE log_head SET sequence = 0, hash = '{'0' * 64}'"))
    for number in (1, 2, 3):
        damage(catalog.log.records.path(number), None)
    assert "does not tell of the publication of 2 versions" in texts(
        check_registry(catalog, full=True)
    )
    assert check_registry(catalog, full=True, repair=True).status == 1
    assert check_registry(catalog, full=True).status == 0
    with catalog.database.read() as session:
        told = [(entry.action, entry.name) for entry in catalog.log.entries(session)]
    assert told == [("publish", "one"), ("publish", "alice/sst2"), ("alias", "alice/sst2")]


@pytest.mark.sqlite
def test_a_row_that_refers_to_nothing_is_damage(catalog: Catalog, version: Version) -> None:
    import sqlite3

    with sqlite3.connect(catalog.database.path) as connection:
        connection.execute("DELETE FROM revisions WHERE id = 1")
    connection.close()
    report = check_registry(catalog)
    assert report.status == 2
    assert "refers to nothing" in texts(report)
    assert "hubkit rebuild" in texts(report)


@pytest.mark.sqlite
def test_a_file_that_is_no_database_is_an_error(catalog: Catalog, version: Version) -> None:
    catalog.database.close()
    catalog.database.path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseError, match="cannot be read as a SQLite database"):
        check_registry(catalog)
