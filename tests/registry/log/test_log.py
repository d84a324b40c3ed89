import hashlib
import json
from collections.abc import Callable

import pytest
from sqlalchemy import text

from registry import AdapterRef, Catalog, Folder
from registry.errors import AlteredLogError, ConflictError, DatabaseError, InvalidNameError
from registry.log.entry import Entry
from registry.log.log import START
from registry.maintenance.gc import collect_garbage
from tests.support.remembered import Remembered
from tests.support.sweeps import on_one_each

MakeFolder = Callable[..., Folder]
REF = AdapterRef.parse("alice/sst2")


def entries(catalog: Catalog, ref: AdapterRef | None = None) -> list[Entry]:
    with catalog.database.read() as connection:
        return [*catalog.log.entries(connection, None if ref is None else [ref.folded])]


def problems(catalog: Catalog) -> tuple[str, ...]:
    with catalog.database.read() as connection:
        return catalog.log.verify(connection).problems


def alter(catalog: Catalog, statement: str) -> None:
    with catalog.database.write() as connection:
        connection.execute(text(statement))


@pytest.fixture
def busy(catalog: Catalog, make_folder: MakeFolder, remembered: Remembered) -> Catalog:
    """A registry in which each kind of change was made once."""
    one, other = make_folder(), make_folder()

    def fill() -> None:
        first = catalog.publish(REF, one, message="first", author="Alice")
        catalog.set_alias(first.ref, "best")
        catalog.remove_alias(REF, "best")
        catalog.yank(first.ref, "wrong labels")
        catalog.unyank(first.ref)
        catalog.publish(AdapterRef.parse("bob/other"), other)
        catalog.delete(REF)

    remembered.fill("logged", [catalog], fill)
    return catalog


def test_every_change_is_told_with_who_what_and_which(busy: Catalog) -> None:
    told = [(entry.action, entry.name, entry.details.get("number")) for entry in entries(busy)]
    assert told == [
        ("publish", "alice/sst2", 1),
        ("alias", "alice/sst2", 1),
        ("unalias", "alice/sst2", None),
        ("yank", "alice/sst2", 1),
        ("unyank", "alice/sst2", 1),
        ("publish", "bob/other", 1),
        ("delete", "alice/sst2", None),
    ]
    assert {entry.sequence for entry in entries(busy)} == set(range(1, 8))
    assert entries(busy)[0].details["author"] == "Alice"


def test_the_actor_is_the_user_of_the_process(
    catalog: Catalog, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "carol")
    catalog.publish(REF, make_folder(), author="Alice")
    assert [entry.actor for entry in entries(catalog)] == ["carol"]


def test_entries_are_found_by_any_spelling_of_the_name(busy: Catalog) -> None:
    found = entries(busy, AdapterRef.parse("BOB/Other"))
    assert [entry.name for entry in found] == ["bob/other"]


def test_each_hash_covers_the_entry_before_as_json_and_sha256_tell(busy: Catalog) -> None:
    previous = START
    for number in range(1, 8):
        content = busy.log.records.path(number).read_bytes()
        assert json.loads(content)["previous"] == previous
        previous = hashlib.sha256(content).hexdigest()
    with busy.database.read() as connection:
        assert busy.log.verify(connection).hash == previous
    assert problems(busy) == ()


def test_what_changes_nothing_is_not_told(catalog: Catalog, make_folder: MakeFolder) -> None:
    folder = make_folder()
    version = catalog.publish(REF, folder)
    catalog.set_alias(version.ref, "best")
    catalog.publish(REF, folder)
    catalog.set_alias(version.ref, "best")
    assert len(entries(catalog)) == 2


def test_a_change_that_is_refused_is_not_told(catalog: Catalog, make_folder: MakeFolder) -> None:
    version = catalog.publish(REF, make_folder())
    with pytest.raises(ConflictError):
        catalog.publish(REF, make_folder(), number=1)
    with pytest.raises(InvalidNameError):
        catalog.set_alias(version.ref, "latest")
    assert len(entries(catalog)) == 1
    assert not catalog.log.records.has(2)


@on_one_each(
    "statement, problem",
    [
        ("UPDATE log SET actor = 'eve' WHERE sequence = 3", "Entry 3 was altered"),
        ("UPDATE log SET details = '{}' WHERE sequence = 4", "Entry 4 was altered"),
        ("UPDATE log SET details = 'no json' WHERE sequence = 4", "Entry 4 was altered"),
        ("UPDATE log SET action = 'nonsense' WHERE sequence = 1", "Entry 1 was altered"),
        ("DELETE FROM log WHERE sequence = 2", "Entry 2 is missing from the log"),
        ("DELETE FROM log WHERE sequence > 5", "Entries 6 to 7 are missing from the end"),
        (f"UPDATE log SET hash = '{'a' * 64}' WHERE sequence = 7", "Entry 7 is not the one"),
        ("DELETE FROM log_head", "lost its head"),
    ],
)
def test_whatever_somebody_alters_shows(busy: Catalog, statement: str, problem: str) -> None:
    alter(busy, statement)
    assert any(problem in found for found in problems(busy))


def test_an_entry_that_cannot_be_read_is_named(busy: Catalog) -> None:
    alter(busy, "UPDATE log SET details = 'no json' WHERE sequence = 4")
    with pytest.raises(AlteredLogError, match="Entry 4 of the log cannot be read"):
        entries(busy)


def test_a_file_that_went_missing_is_written_again_by_the_next_change(
    busy: Catalog, make_folder: MakeFolder
) -> None:
    for number in (6, 7):
        busy.log.records.path(number).unlink()
    busy.publish(AdapterRef.parse("bob/other"), make_folder())
    with busy.database.read() as connection:
        assert busy.log.missing_records(connection) == []


def test_a_database_older_than_its_records_takes_no_changes(
    busy: Catalog, make_folder: MakeFolder
) -> None:
    alter(busy, "DELETE FROM log WHERE sequence > 3")
    alter(
        busy, "UPDATE log_head SET sequence = 3, hash = (SELECT hash FROM log WHERE sequence = 3)"
    )
    before = busy.log.records.get(4)
    with pytest.raises(DatabaseError, match="older than the records beside it"):
        busy.publish(AdapterRef.parse("bob/other"), make_folder())
    with pytest.raises(DatabaseError, match="older than the records beside it"):
        collect_garbage(busy)  # to it, what it does not know of would be garbage
    assert busy.log.records.get(4) == before
