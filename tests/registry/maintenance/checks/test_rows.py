from collections.abc import Callable

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder, Version
from registry.errors import DatabaseError
from registry.maintenance.fsck import check_registry
from registry.search.search import search
from tests.registry.maintenance.conftest import damage, texts
from tests.support.sweeps import on_one_each

REF = AdapterRef.parse("alice/sst2")


@pytest.fixture
def version(stack: Version) -> Version:
    return stack


@on_one_each(
    "statement, table",
    [
        ("UPDATE revisions SET task = 'other' WHERE kind = 'stack'", "revisions"),
        ("UPDATE revisions SET size = 1 WHERE kind = 'stack'", "revisions"),
        ("UPDATE revisions SET base_family = NULL WHERE kind = 'stack'", "revisions"),
        ("UPDATE files SET path = 'x' WHERE path = 'head/weights.bin' AND revision_id = 2", "fil"),
        ("DELETE FROM tags", "tags"),
        ("UPDATE metrics SET value = 1.0", "metrics"),
        ("UPDATE parents SET ref = 'other@1'", "parents"),
    ],
)
def test_rows_that_say_something_else_than_the_manifest_are_written_again(
    catalog: Catalog, version: Version, statement: str, table: str
) -> None:
    with catalog.database.write() as connection:
        connection.execute(text(statement))
    assert check_registry(catalog).status == 0
    report = check_registry(catalog, full=True)
    assert report.status == 2
    assert "alice/sst2@1: its manifest says something else than the table " in texts(report)
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
    with catalog.database.write() as connection:
        connection.execute(text(statement))
    assert "something else than the search index" in texts(check_registry(catalog, full=True))
    assert check_registry(catalog, full=True, repair=True).status == 1
    assert search(catalog, text="sst2").items == (version,)


@pytest.mark.sqlite
def test_a_search_index_out_of_step_is_made_anew(catalog: Catalog, version: Version) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("DELETE FROM revision_text_data WHERE id > 10"))
    catalog.close()
    with pytest.raises(DatabaseError, match=r"The search index in .* is damaged"):
        search(catalog, text="sst2")
    report = check_registry(catalog, full=True)
    assert report.status == 2
    assert "The search index is wrong" in texts(report)
    assert check_registry(catalog, full=True, repair=True).status == 1
    assert check_registry(catalog, full=True).status == 0
    assert search(catalog, text="sst2").items == (version,)


@on_one_each(
    "statement",
    [
        ("DELETE FROM listings WHERE kind = 'stack'",),
        ("UPDATE listings SET score = 0.9 WHERE kind = 'stack'",),
        ("UPDATE listings SET downloads = 7 WHERE kind = 'stack'",),
        ("UPDATE listings SET task = 'other' WHERE kind = 'stack'",),
        ("UPDATE listings SET owner = 'bob' WHERE kind = 'stack'",),
        ("UPDATE listings SET owner = NULL WHERE kind = 'stack'",),
    ],
)
def test_adapters_are_listed_again_as_they_are(
    catalog: Catalog, version: Version, statement: str
) -> None:
    with catalog.database.write() as connection:
        connection.execute(text(statement))
    report = check_registry(catalog, full=True)
    assert report.status == 2
    assert "The listings of 1 adapters are missing or differ" in texts(report)
    assert check_registry(catalog, full=True, repair=True).status == 1
    assert check_registry(catalog, full=True).status == 0
    assert search(catalog, owner="alice", sort="score").items == (version,)


def test_a_version_that_follows_another_adapters_is_made_to_follow_its_own(
    catalog: Catalog, version: Version, make_folder: Callable[..., Folder]
) -> None:
    second = catalog.publish(REF, make_folder())
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE revisions SET parent_id = 1 WHERE id > 1"))
    report = check_registry(catalog, full=True)
    assert report.status == 2
    assert "2 versions name another version than the one before them" in texts(report)
    assert check_registry(catalog, full=True, repair=True).status == 1
    assert check_registry(catalog, full=True).status == 0
    with catalog.database.read() as connection:
        rows = connection.execute(text("SELECT parent_id FROM revisions ORDER BY id"))
        assert [*rows.scalars()] == [None, None, 2]
    assert catalog.resolve(REF) == second


def test_versions_from_before_there_was_a_log_are_added_to_it(
    catalog: Catalog, version: Version
) -> None:
    with catalog.database.write() as connection:
        connection.execute(text("DELETE FROM log"))
        connection.execute(text(f"UPDATE log_head SET sequence = 0, hash = '{'0' * 64}'"))
    for number in (1, 2, 3):
        damage(catalog.log.records.path(number), None)
    report = check_registry(catalog, full=True)
    assert report.status == 0  # nothing is lost
    assert "lacks the publication of 2 versions" in texts(report)
    assert check_registry(catalog, full=True, repair=True).status == 1
    assert check_registry(catalog, full=True).status == 0
    with catalog.database.read() as connection:
        told = [(entry.action, entry.name) for entry in catalog.log.entries(connection)]
    assert told == [("publish", "one"), ("publish", "alice/sst2"), ("alias", "alice/sst2")]
