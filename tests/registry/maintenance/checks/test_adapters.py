"""Rows that differ from the log are reported, and written again from it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder
from registry.errors import AlteredRowsError
from registry.maintenance.checks.adapters import check_adapters
from registry.maintenance.fsck import check_registry
from registry.maintenance.gc import collect_garbage
from registry.maintenance.rebuild import rebuild
from tests.registry.maintenance.conftest import ONE, texts
from tests.support.rows import rows_of, without_ids
from tests.support.sweeps import on_one_each

OF_ONE = "(SELECT id FROM repositories WHERE folded = 'alice/one')"
PARTS = ("files", "metrics", "tags", "origins", "refs", "listings")


def gone(number: int) -> list[str]:
    """Return statements that remove every row of a version of alice/One."""
    version = f"(SELECT id FROM revisions WHERE repository_id = {OF_ONE} AND number = {number})"
    return [
        *(f"DELETE FROM {table} WHERE revision_id = {version}" for table in PARTS),
        f"DELETE FROM parents WHERE child_id = {version}",
        f"UPDATE revisions SET parent_id = NULL WHERE parent_id = {version}",
        f"UPDATE commits SET revision_id = NULL WHERE revision_id = {version}",
        f"DELETE FROM revisions WHERE id = {version}",
    ]


CHANGES = {
    "an author": (["UPDATE revisions SET author = 'mallory' WHERE number = 7"], "its author"),
    "a message": (["UPDATE revisions SET message = 'x' WHERE author = 'Ada'"], "its message"),
    "a date": (
        ["UPDATE revisions SET created_at = '2020-01-01 00:00:00.000000' WHERE number = 7"],
        "its date",
    ),
    "a number": (["UPDATE revisions SET number = 9 WHERE number = 8"], "its number"),
    "two numbers": (
        [
            "UPDATE revisions SET number = 99 WHERE number = 7",
            "UPDATE revisions SET number = 7 WHERE number = 8",
            "UPDATE revisions SET number = 8 WHERE number = 99",
        ],
        "its number",
    ),
    "a manifest": (
        [f"UPDATE revisions SET manifest_digest = '{'a' * 64}' WHERE number = 7"],
        "its manifest",
    ),
    "an alias": (
        [
            "UPDATE refs SET revision_id = (SELECT min(id) FROM revisions WHERE repository_id ="
            f" {OF_ONE}) WHERE name = 'best'"
        ],
        "alice/One@best: its version should be 7",
    ),
    "a lost alias": (["DELETE FROM refs WHERE name = 'best'"], "but is none"),
    "a false alias": (
        ["INSERT INTO refs SELECT repository_id, 'false', id FROM revisions WHERE number = 8"],
        "its version should be none",
    ),
    "a yank undone": (
        ["UPDATE revisions SET yanked_at = NULL, yank_reason = NULL WHERE author = 'Ada'"],
        "its date of yank",
    ),
    "a yank": (
        ["UPDATE revisions SET yanked_at = '2020-01-01 00:00:00.000000' WHERE number = 7"],
        "its date of yank",
    ),
    "a reason": (["UPDATE revisions SET yank_reason = 'x' WHERE author = 'Ada'"], "its reason"),
    "a tombstone": (["DELETE FROM repositories WHERE folded = 'gone'"], "has no row"),
    "a deletion undone": (
        ["UPDATE repositories SET deleted_at = NULL WHERE folded = 'gone'"],
        "is not deleted",
    ),
    "a counter": (["UPDATE repositories SET next_number = 1 WHERE folded = 'alice/one'"], "next"),
    "a counter ahead": (["UPDATE repositories SET next_number = 50 WHERE folded = 'two'"], "next"),
    "a name": (["UPDATE repositories SET name = 'Other' WHERE folded = 'two'"], "its name"),
    "an origin": (["UPDATE origins SET location = '/elsewhere'"], "two@1: its origin"),
    "a lost origin": (["DELETE FROM origins"], "its origin"),
    "a false origin": (
        ["INSERT INTO origins SELECT id, '/elsewhere' FROM revisions WHERE number = 7"],
        "its origin should be none",
    ),
}


@on_one_each("what", [(what,) for what in CHANGES])
def test_what_the_log_tells_otherwise_is_told_of_and_written_again(
    busy: Catalog, what: str
) -> None:
    before, versions = without_ids(rows_of(busy)), busy.versions(ONE)
    statements, problem = CHANGES[what]
    with busy.database.write() as connection:
        for statement in statements:
            connection.execute(text(statement))
    found = [*check_adapters(busy, repair=False)]
    assert problem in "\n".join(finding.text for finding in found)
    assert {finding.about for finding in found} == {AlteredRowsError}
    assert {finding.state for finding in check_adapters(busy, repair=True)} == {"repaired"}
    assert [*check_adapters(busy, repair=False)] == []
    assert busy.versions(ONE) == versions
    after = without_ids(rows_of(busy))
    for table in (
        "revisions",
        "refs",
        "files",
        "metrics",
        "tags",
        "parents",
        "listings",
        "origins",
    ):
        assert sorted(map(str, after[table])) == sorted(map(str, before[table])), table


@pytest.mark.parametrize("lost", [1, 8])
def test_a_version_whose_rows_are_lost_is_told_of_and_comes_back(busy: Catalog, lost: int) -> None:
    versions = busy.versions(ONE)
    with busy.database.write() as connection:
        _forget_text(connection, lost)
        for statement in gone(lost):
            connection.execute(text(statement))
    report = check_registry(busy, full=True)
    assert report.status == 2
    assert "it has no rows" in texts(report)
    assert any(finding.about is AlteredRowsError for finding in report.findings)
    assert check_registry(busy, full=True, repair=True).status == 1
    assert check_registry(busy, full=True).status == 0
    assert busy.versions(ONE) == versions


def _forget_text(connection: object, number: int) -> None:
    from sqlalchemy import select

    from registry.tables.models import REVISIONS
    from registry.tables.text_index import remove_text

    remove_text(connection, select(REVISIONS.c.id).where(REVISIONS.c.number == number))


def test_what_nobody_changed_is_as_the_log_tells(busy: Catalog) -> None:
    report = check_registry(busy, full=True)
    assert (report.status, report.findings) == (0, ())


def test_the_bytes_of_a_version_that_lost_its_rows_are_no_garbage(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    for _ in range(8):
        catalog.publish(ONE, make_folder())
    with catalog.database.write() as connection:
        _forget_text(connection, 8)
        for statement in gone(8):
            connection.execute(text(statement))
    for _ in range(2):
        with pytest.raises(AlteredRowsError, match=r"alice/One@8 has lost its rows.*Nothing was"):
            collect_garbage(catalog, grace=timedelta(0))
    assert check_registry(catalog, full=True, repair=True).status == 1
    for _ in range(2):
        assert collect_garbage(catalog, grace=timedelta(0)).removed == 0
    catalog.folder(catalog.resolve(ONE.at(8)))


def test_a_version_that_lost_its_rows_and_its_manifest_is_named_and_the_rest_goes_on(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    for _ in range(8):
        lost = catalog.publish(ONE, make_folder())
    with catalog.database.write() as connection:
        _forget_text(connection, 8)
        for statement in gone(8):
            connection.execute(text(statement))
    catalog.blobs.path(lost.manifest_digest).unlink()
    report = check_registry(catalog, full=True, repair=True)
    assert report.status == 2
    assert "alice/One@8: the log has it" in texts(report)
    assert "cannot be brought back" in texts(report)
    collect_garbage(catalog)
    assert rebuild(catalog).entries == 0
    catalog.delete(AdapterRef.parse("alice/One"))  # it can be given up
    assert check_registry(catalog, full=True).status == 0


def test_an_alias_of_another_adapters_version_of_the_same_number_is_told_of(
    busy: Catalog, make_folder: Callable[..., Folder]
) -> None:
    other = busy.publish(AdapterRef.parse("other"), make_folder(), number=7)
    meant = busy.resolve(AdapterRef.parse("alice/One@best"))
    with busy.database.write() as connection:
        connection.execute(
            text(
                "UPDATE refs SET revision_id = (SELECT id FROM revisions WHERE manifest_digest ="
                f" '{other.manifest_digest}') WHERE name = 'best'"
            )
        )
    report = check_registry(busy, full=True)
    assert report.status == 2
    expected = "its version should be 7, as the log says, but is one of another adapter"
    assert f"alice/One@best: {expected}" in texts(report)
    assert check_registry(busy, full=True, repair=True).status == 1
    assert busy.resolve(AdapterRef.parse("alice/One@best")) == meant
