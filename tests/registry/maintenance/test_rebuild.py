import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
from sqlalchemy import select, text

from registry import AdapterRef, Catalog, Folder, open_catalog
from registry.database import connections as sqlite_connections
from registry.database.sqlite import copy_database
from registry.errors import (
    AlteredLogError,
    ConflictError,
    DamagedDatabaseError,
    DatabaseError,
    OutdatedDatabaseError,
    RegistryNotFoundError,
)
from registry.home import find_catalog
from registry.log.entry import Entry
from registry.log.log import Log
from registry.maintenance import rebuild as rebuild_module
from registry.maintenance.fsck import check_registry
from registry.maintenance.rebuild import Rebuilt, find_behind, rebuild
from registry.maintenance.schema import downgrade
from registry.tables.models import REPOSITORIES
from tests.registry.maintenance.conftest import GONE, ONE, TWO, filled, make_busy
from tests.support.power import PowerCut
from tests.support.remembered import Remembered
from tests.support.rows import Rows, rows_of, without_ids
from tests.support.sweeps import on_one_each

MakeFolder = Callable[..., Folder]


@pytest.fixture
def busy_elsewhere(
    open_registry: Callable[[str], Catalog], make_folder: MakeFolder, remembered: Remembered
) -> Catalog:
    """A busy registry in a database of its own, whose tables may go."""
    catalog, source = map(open_registry, ("rebuilt", "source"))

    def fill() -> None:
        make_busy(catalog, source, make_folder)

    return filled("busy", remembered, [catalog, source], make_folder, fill)


def lose(catalog: Catalog, content: bytes | None = None) -> None:
    catalog.database.close()
    path = catalog.database.path
    path.unlink() if content is None else path.write_bytes(content)


def require_all_back(catalog: Catalog, before: Rows) -> Rebuilt:
    """Rebuild, and compare every row with those from before."""
    done = rebuild(catalog)
    assert (done.problems, done.entries) == ((), len(before["log"]))
    after = rows_of(catalog)
    last = max(after["log"])
    assert last[3] == "rebuild"
    assert after["log"] - {last} == before["log"]
    # The parent of a revision is the one before it in its repository, whatever its id is.
    then, now = without_ids(before), without_ids(after)
    for table in before.keys() - {"log", "log_head"}:
        assert now[table] == then[table], table
    assert check_registry(catalog, full=True).status == 0
    return done


@pytest.mark.sqlite
@pytest.mark.parametrize("content", [None, b"", b"rubbish" * 1000, b"SQLite format 3\0" * 500])
def test_every_row_comes_back(busy: Catalog, content: bytes | None) -> None:
    before = rows_of(busy)
    lose(busy, content)
    done = require_all_back(busy, before)
    kept = [*busy.blobs.quarantine.glob("hubkit.db-*")]
    assert [path.read_bytes() for path in kept] == ([] if content is None else [content])
    assert done.kept == (None if content is None else str(kept[0]))
    assert not [*busy.blobs.scratch.glob("*")]


@pytest.mark.sqlite
def test_a_folder_in_the_place_of_the_database_is_set_aside(busy: Catalog) -> None:
    before = rows_of(busy)
    lose(busy)
    busy.database.path.mkdir()
    done = require_all_back(busy, before)
    assert done.kept is not None
    assert Path(done.kept).is_dir()


DAMAGE = {
    "a table is missing": "DROP TABLE tags",
    "a column is missing": "ALTER TABLE origins DROP COLUMN location",
    "the text index is missing": "DROP TABLE revision_text",
    "the head of the log is missing": "DELETE FROM log_head",
}


@on_one_each("statement", [(one,) for one in DAMAGE.values()], ids=DAMAGE)
def test_tables_that_somebody_altered_are_kept_and_made_anew(
    busy_elsewhere: Catalog, statement: str
) -> None:
    catalog = busy_elsewhere
    before = rows_of(catalog)
    with catalog.database.write() as connection:
        connection.execute(text(statement))
    (finding,) = check_registry(catalog).findings
    assert "is damaged: " in finding.text
    assert finding.about in (AlteredLogError, DamagedDatabaseError, OutdatedDatabaseError)
    done = require_all_back(catalog, before)
    assert done.kept is not None
    schema = re.search("hubkit_damaged_[0-9t]+", done.kept)
    if schema is not None:
        with catalog.database.write() as connection:
            kept = connection.scalars(text(f"SELECT name FROM {schema[0]}.repositories")).all()
            assert "gone" in kept
            connection.execute(text(f"DROP SCHEMA {schema[0]} CASCADE"))
    else:
        assert Path(done.kept).is_file()


@pytest.mark.postgresql
def test_an_empty_database_on_the_server_gets_every_row(busy_elsewhere: Catalog) -> None:
    catalog = busy_elsewhere
    before = rows_of(catalog)
    with catalog.database.write() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    assert require_all_back(catalog, before).kept is None


@pytest.mark.postgresql
def test_somebody_elses_tables_are_not_moved_away(busy_elsewhere: Catalog) -> None:
    catalog = busy_elsewhere
    with catalog.database.write() as connection:
        connection.execute(text("ALTER TABLE hubkit_version RENAME TO songs"))
    with pytest.raises(DatabaseError, match="not one of hubkit's"):
        rebuild(catalog)
    with catalog.database.write() as connection:
        connection.execute(text("ALTER TABLE songs RENAME TO hubkit_version"))
    assert rebuild(catalog).entries == 0


@pytest.mark.postgresql
def test_a_rebuild_on_the_server_that_breaks_off_leaves_all_as_it_was(
    busy_elsewhere: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = busy_elsewhere
    with catalog.database.write() as connection:
        connection.execute(text("DELETE FROM log_head"))
    before = rows_of(catalog)
    with monkeypatch.context() as patch:
        patch.setattr(Log, "insert", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rebuild(catalog)
    assert rows_of(catalog) == before
    with catalog.database.write() as connection:
        assert (
            connection.scalar(text("SELECT count(*) FROM pg_namespace WHERE nspname ~ 'dam'")) == 0
        )


@pytest.mark.sqlite
def test_a_database_that_is_in_use_is_not_taken_for_a_damaged_one(
    busy: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rows_of(busy)
    busy.close()
    monkeypatch.setattr(sqlite_connections, "BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(busy.database.path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=delete")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(DatabaseError, match="is in use"):
            rebuild(Catalog(busy.home))
    assert rows_of(busy) == before


@pytest.mark.sqlite
def test_names_and_numbers_stay_taken(busy: Catalog, make_folder: MakeFolder) -> None:
    lose(busy)
    rebuild(busy)
    with pytest.raises(ConflictError, match="was deleted"):
        busy.publish(GONE, make_folder())
    assert busy.publish(ONE, make_folder()).number == 9


@pytest.mark.sqlite
def test_a_lost_database_is_not_replaced_by_an_empty_one(busy: Catalog) -> None:
    for content in (None, b""):
        lose(busy, content)
        for create in (True, False):
            with pytest.raises(DatabaseError, match=r"has lost its database"):
                open_catalog(busy.home, create=create)


@pytest.mark.sqlite
def test_a_sound_database_is_left_as_it_is(busy: Catalog) -> None:
    before = rows_of(busy)
    assert rebuild(busy).entries == 0
    assert rows_of(busy) == before


@pytest.mark.sqlite
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


@pytest.mark.sqlite
def test_records_that_do_not_go_on_where_a_sound_database_ends_are_refused(
    busy: Catalog, make_folder: MakeFolder, tmp_path: Path
) -> None:
    copy_database(busy.database.path, tmp_path / "old.db")
    with busy.database.read() as connection:
        head, _ = Log.head(connection)
    busy.publish(ONE, make_folder())
    lose(busy, (tmp_path / "old.db").read_bytes())
    path = busy.log.records.path(head + 1)
    other = Entry.from_json(path.read_bytes(), "").model_copy(update={"previous": "0" * 64})
    path.chmod(0o600)
    path.write_bytes(other.to_json())
    before = rows_of(busy)
    with pytest.raises(AlteredLogError, match=f"does not follow entry {head} of the database"):
        rebuild(busy)
    assert rows_of(busy) == before
    path.unlink()
    assert rebuild(busy).entries == 0


@pytest.mark.sqlite
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


@pytest.mark.sqlite
@pytest.mark.parametrize("content", [None, b"rubbish", b"{}"])
def test_a_lost_record_is_named_and_the_rest_comes_back(
    busy: Catalog, content: bytes | None
) -> None:
    path = busy.log.records.path(4)  # an alias
    path.chmod(0o600)
    path.unlink() if content is None else path.write_bytes(content)
    lose(busy)
    problems = rebuild(busy).problems
    assert any("Entry 4 of the log is lost" in problem for problem in problems)
    assert len(busy.versions(ONE)) == 3


@pytest.mark.sqlite
@pytest.mark.parametrize("content", [b"rubbish", b"{}"])
@pytest.mark.parametrize("is_lost", [True, False])
def test_a_damaged_last_record_comes_back_from_what_was_put_and_changes_go_on(
    busy: Catalog, make_folder: MakeFolder, content: bytes, is_lost: bool
) -> None:
    ((last, _),) = busy.log.records.pending()
    before, path = rows_of(busy), busy.log.records.path(last)
    right = path.read_bytes()
    path.unlink()  # it is a link to what was put
    path.write_bytes(content)
    if is_lost:
        lose(busy)
        require_all_back(busy, before)
    else:
        assert rebuild(busy).entries == 0
    assert path.read_bytes() == right
    busy.publish(TWO, make_folder())
    assert check_registry(busy, full=True).status == 0


@pytest.mark.sqlite
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


CHANGED_BYTES = (
    (b'"name":"', b'"name":"x'),
    (b'"at":"2', b'"at":"x'),
    (b'"at":"20', b'"at":"30'),
    (b'"actor":"', b'"actor":"x'),
    (b'"record":1', b'"record":2'),
    (b'"previous":"', b'"previous":"0'),
)
NUMBERS = (1, 5, 9)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("number", "old", "new"),
    [
        pytest.param(number, *change, marks=() if at % 3 == turn else pytest.mark.torture)
        for at, change in enumerate(CHANGED_BYTES)
        for turn, number in enumerate(NUMBERS)
    ],
)
def test_a_record_with_another_byte_is_not_believed_and_the_others_are_done_again(
    catalog: Catalog, make_folder: MakeFolder, number: int, old: bytes, new: bytes
) -> None:
    for place in range(9):
        catalog.publish(AdapterRef.parse(f"name{place + 1}"), make_folder())
    path = catalog.log.records.path(number)
    content = path.read_bytes()
    assert old in content
    path.chmod(0o600)
    path.write_bytes(content.replace(old, new, 1)[: len(content)])
    lose(catalog)
    done = rebuild(catalog)
    assert done.lost == ((number, number),)
    assert f"Entry {number} of the log is lost" in done.problems[0]
    kept = {f"name{place + 1}" for place in range(9)} - {f"name{number}"}
    with catalog.database.read() as connection:
        found = set(connection.scalars(select(REPOSITORIES.c.name)))
    assert found == kept


@pytest.mark.sqlite
def test_what_is_lost_is_told_once_and_then_noted_for_good(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    for number in range(6):
        catalog.publish(AdapterRef.parse(f"name{number}"), make_folder())
    for number in (2, 3, 5):
        catalog.log.records.path(number).unlink()
    lose(catalog)
    assert rebuild(catalog).lost == ((2, 3), (5, 5))
    for _ in range(2):
        report = check_registry(catalog, full=True, repair=True)
        assert report.status in (0, 1)
        notes = [finding.text for finding in report.findings if finding.state == "note"]
        assert any("Entries 2 to 3 are lost" in text for text in notes)
        assert any("Entry 5 is lost" in text for text in notes)
        assert rebuild(catalog).entries == 0
    assert check_registry(catalog, full=True).status == 0
    catalog.publish(AdapterRef.parse("more"), make_folder())
    lose(catalog)
    assert rebuild(catalog).lost == ((2, 3), (5, 5))


@pytest.mark.sqlite
def test_a_writer_that_had_the_database_open_finds_the_new_one(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    other = open_catalog(catalog.home)
    for number in range(3):
        catalog.publish(AdapterRef.parse(f"name{number}"), make_folder())
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE log SET actor = 'x' WHERE sequence = 1"))
    assert rebuild(other).kept is not None
    catalog.publish(AdapterRef.parse("name3"), make_folder())
    catalog.set_alias(AdapterRef.parse("name0"), "best")
    catalog.yank(AdapterRef.parse("name1@1"), "why")
    catalog.delete(AdapterRef.parse("name2"))
    fresh = open_catalog(catalog.home)
    assert fresh.resolve(AdapterRef.parse("name3")).number == 1
    assert fresh.resolve(AdapterRef.parse("name0@best")).number == 1
    assert fresh.resolve(AdapterRef.parse("name1@1")).yanked
    assert check_registry(fresh, full=True).status == 0


@pytest.mark.sqlite
def test_a_writer_that_waits_for_a_rebuild_goes_on_in_the_new_database(
    catalog: Catalog, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.publish(AdapterRef.parse("one"), make_folder())
    folder = make_folder()
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE log SET actor = 'x' WHERE sequence = 1"))
    other = open_catalog(catalog.home)
    other.resolve(AdapterRef.parse("one"))
    replay = rebuild_module._replay
    threads: list[threading.Thread] = []

    def start_a_publish_first(*arguments: object) -> object:
        publish = partial(other.publish, AdapterRef.parse("two"), folder)
        threads.append(threading.Thread(target=publish))
        threads[0].start()
        threads[0].join(0.5)
        assert threads[0].is_alive()  # it waits
        return replay(*arguments)

    monkeypatch.setattr(rebuild_module, "_replay", start_a_publish_first)
    rebuild(catalog)
    threads[0].join(20)
    fresh = open_catalog(catalog.home)
    assert {fresh.resolve(AdapterRef.parse(name)).number for name in ("one", "two")} == {1}
    assert check_registry(fresh, full=True).status == 0


@pytest.mark.postgresql
def test_tables_that_are_made_anew_are_those_that_writers_go_on_in(
    catalog: Catalog, make_folder: MakeFolder
) -> None:
    other = open_catalog(catalog.home, database=url_of(catalog))
    for number in range(7):  # prepares statements on the old tables
        catalog.publish(AdapterRef.parse(f"name{number}"), make_folder())
    with catalog.database.write() as connection:
        connection.execute(text("UPDATE log SET actor = 'x' WHERE sequence = 1"))
    kept = rebuild(other).kept
    assert kept is not None
    catalog.publish(AdapterRef.parse("after"), make_folder())
    fresh = open_catalog(catalog.home, database=url_of(catalog))
    assert fresh.resolve(AdapterRef.parse("after")).number == 1
    assert check_registry(fresh, full=True).status == 0
    with catalog.database.write() as connection:
        connection.execute(text(f"DROP SCHEMA {kept.split()[2]} CASCADE"))
    for opened in (other, fresh):
        opened.close()


def url_of(catalog: Catalog) -> str:
    return catalog.database.backend.engine.url.set(drivername="postgresql").render_as_string(False)


@pytest.mark.sqlite
def test_a_rebuild_that_was_killed_is_done_again(busy: Catalog, tmp_path: Path) -> None:
    before = rows_of(busy)
    lose(busy)
    cut = PowerCut(busy.home, tmp_path / "images", slice(0, None, 9))
    with cut.watching():
        rebuild(busy)
    assert len(cut.taken) > 3
    for image in cut.taken:
        again = rebuild_of(image)
        try:
            after = rows_of(again)
            told = {row for row in after["log"] if row[3] == "rebuild"}
            assert after["log"] - told == {row for row in before["log"] if row[3] != "rebuild"}
            then, now = without_ids(before), without_ids(after)
            for table in before.keys() - {"log", "log_head"}:
                assert now[table] == then[table], (image, table)
            assert check_registry(again, full=True).status == 0, image
        finally:
            again.close()


def rebuild_of(home: Path) -> Catalog:
    """The registry in a folder, after another try, in a process that knows nothing of the first."""
    catalog = find_catalog(home)
    done = rebuild(catalog)
    assert done.problems == ()
    return catalog


REF = AdapterRef.parse("film")


def test_a_database_that_lost_entries_is_told_of_without_reading_every_byte(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    assert find_behind(catalog) is None
    for _ in range(3):
        catalog.publish(REF, make_folder())
    assert find_behind(catalog) is None
    downgrade(catalog.database, "0001")
    catalog.database.upgrade()
    report = check_registry(catalog)
    assert report.status == 2
    assert any("entries after 0, but the log ends there" in one.text for one in report.findings)
    # Not that the log should tell of them anew, over the records that do already.
    assert not any(
        "The log does" in one.text for one in check_registry(catalog, full=True).findings
    )
    assert check_registry(catalog, full=True, repair=True).status == 2
    rebuild(catalog)
    assert find_behind(catalog) is None
    assert check_registry(catalog, full=True).status == 0


def test_a_record_of_a_change_that_was_interrupted_is_noted(catalog: Catalog) -> None:
    catalog.log.records.put(1, b"never committed")
    found = find_behind(catalog)
    assert found is not None
    assert (found.state, "holds a record of entry 1, which is not committed" in found.text) == (
        "note",
        True,
    )
