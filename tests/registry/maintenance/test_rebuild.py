from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from registry import (
    AdapterRef,
    Catalog,
    ConflictError,
    DatabaseError,
    Folder,
    RegistryNotFoundError,
    Version,
    open_catalog,
)
from registry.maintenance.fsck import check_registry
from registry.maintenance.rebuild import rebuild
from registry.tables.models import Base
from registry.tables.sqlite import copy_database

pytestmark = pytest.mark.sqlite
MakeFolder = Callable[..., Folder]
ONE, TWO, GONE = map(AdapterRef.parse, ("alice/One", "two", "gone"))


def rows(catalog: Catalog) -> dict[str, set[tuple[Any, ...]]]:
    """All rows of all tables but the last entry of the log; ids are given anew, in order."""
    found = {}
    with catalog.database.read() as session:
        for table in Base.metadata.sorted_tables:
            found[table.name] = {tuple(row) for row in session.execute(table.select())}
        found["text"] = {tuple(row) for row in session.execute(text("SELECT * FROM revision_text"))}
    return found


@pytest.fixture
def busy(catalog: Catalog, other_catalog: Catalog, make_folder: MakeFolder) -> Catalog:
    """A registry in which everything happened that can."""
    gone = make_folder()
    catalog.publish(ONE, make_folder(tags=["b", "a"]), message="ünï", author="Ada")
    version = catalog.publish(ONE, make_folder(), number=7)
    catalog.publish(AdapterRef.parse("ALICE/one"), make_folder())
    catalog.set_alias(version.ref, "best")
    catalog.set_alias(ONE, "stable")
    catalog.set_alias(ONE, "gone")
    catalog.remove_alias(ONE, "gone")
    catalog.yank(ONE.at(1), "wrong labels")
    catalog.yank(ONE.at(8), "oops")
    catalog.unyank(ONE.at(8))
    source = other_catalog.publish(TWO, make_folder())
    other_catalog.yank(source.ref, "leaked")
    pulled = catalog.pull(source.ref, other_catalog)
    parents = [_parent(pulled), _parent(version)]
    catalog.publish(TWO, make_folder(kind="fusion", parents=parents))
    catalog.publish(GONE, gone)
    catalog.delete(GONE)
    return catalog


def _parent(version: Version) -> dict[str, str]:
    return {"ref": str(version.ref), "digest": version.manifest_digest}


def lose(catalog: Catalog, content: bytes | None = None) -> None:
    catalog.database.close()
    path = catalog.database.path
    path.unlink() if content is None else path.write_bytes(content)


@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 1000, b"SQLite format 3\0" * 500])
def test_every_row_comes_back(busy: Catalog, content: bytes | None) -> None:
    before = rows(busy)
    lose(busy, content)
    done = rebuild(busy)
    assert (done.problems, done.entries) == ((), len(before["log"]))
    after = rows(busy)
    last = max(after["log"])
    assert last[3] == "rebuild"
    # The parent of a revision is the one before it in its repository, whatever its id is.
    for table in before.keys() - {"log", "log_head"}:
        assert _plain(table, after) == _plain(table, before), table
    assert after["log"] - {last} == before["log"]
    assert check_registry(busy, full=True).status == 0
    kept = [path.read_bytes() for path in busy.blobs.quarantine.glob("hubkit.db-*")]
    assert kept == ([] if content is None else [content])


def _plain(table: str, found: dict[str, set[tuple[Any, ...]]]) -> Any:
    """Rows with places for ids: a deleted version had one too."""
    if table == "text":
        return found[table]
    order = {row[0]: place for place, row in enumerate(sorted(found["revisions"]))}
    columns = [column.name for column in Base.metadata.tables[table].columns]
    ids = {"revision_id", "child_id", "parent_id"} | ({"id"} if table == "revisions" else set())
    return {
        tuple(
            order.get(value) if name in ids else value
            for name, value in zip(columns, row, strict=True)
        )
        for row in found[table]
    }


def test_names_and_numbers_stay_taken(busy: Catalog, make_folder: MakeFolder) -> None:
    lose(busy)
    rebuild(busy)
    with pytest.raises(ConflictError, match="was deleted"):
        busy.publish(GONE, make_folder())
    assert busy.publish(ONE, make_folder()).number == 9


def test_a_lost_database_is_not_replaced_by_an_empty_one(busy: Catalog) -> None:
    for content in (None, b""):
        lose(busy, content)
        for create in (True, False):
            with pytest.raises(DatabaseError, match=r"has lost its database.*hubkit rebuild"):
                open_catalog(busy.home, create=create)


def test_a_sound_database_is_left_as_it_is(busy: Catalog) -> None:
    before = rows(busy)
    assert rebuild(busy).entries == 0
    assert rows(busy) == before


def test_a_database_out_of_a_backup_is_brought_up_to_date(
    busy: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    copy_database(busy.database.path, tmp_path / "old.db")
    later = [busy.publish(ONE, make_folder()) for _ in range(2)]
    lose(busy, (tmp_path / "old.db").read_bytes())
    assert check_registry(busy, full=True).status == 2
    assert rebuild(busy).entries == 2
    assert [busy.resolve(version.ref) for version in later] == later
    assert check_registry(busy, full=True).status == 0


def test_a_version_whose_manifest_is_lost_is_named_and_its_number_stays_taken(
    busy: Catalog, make_folder: MakeFolder
) -> None:
    lost = busy.resolve(ONE.at(8))
    busy.blobs.path(lost.manifest_digest).unlink()
    lose(busy)
    done = rebuild(busy)
    assert len(done.problems) == 1
    assert done.problems[0].startswith("alice/One@8 cannot be brought back.")
    assert [version.number for version in busy.versions(ONE)] == [7, 1]
    assert busy.publish(ONE, make_folder()).number == 9


@pytest.mark.parametrize("content", [None, b"rubbish", b"{}"])
def test_a_lost_record_is_named_and_the_rest_comes_back(
    busy: Catalog, content: bytes | None
) -> None:
    path = busy.log.records.path(4)  # an alias
    path.chmod(0o600)
    path.unlink() if content is None else path.write_bytes(content)
    lose(busy)
    problems = rebuild(busy).problems
    assert any("Entry 5 of the log does not follow" in problem for problem in problems)
    assert len(busy.versions(ONE)) == 3


def test_a_published_file_that_looks_like_a_record_is_none(
    busy: Catalog, make_folder: MakeFolder
) -> None:
    forged = busy.log.records.path(1).read_bytes().replace(b"alice/One", b"eve/theirs")
    busy.publish(TWO, make_folder(content=forged))
    lose(busy)
    assert rebuild(busy).problems == ()
    with pytest.raises(Exception, match="No adapter is called eve/theirs"):
        busy.versions(AdapterRef.parse("eve/theirs"))


def test_without_records_there_is_nothing_to_rebuild(catalog: Catalog) -> None:
    with pytest.raises(RegistryNotFoundError, match="nothing to make a database from"):
        rebuild(catalog)
