from sqlalchemy import select

from registry import Catalog
from registry.history.changes import Remove
from registry.history.git import blob_id
from registry.history.repositories import Repository
from registry.history.trees import ChangedFile
from registry.tables.models import TREES
from tests.registry.history.conftest import Push


def test_the_same_tree_may_come_back_and_is_stored_once(catalog: Catalog, push: Push) -> None:
    first, second = push({"a.txt": b"1"}), push({"a.txt": b"2"})
    third = push({"a.txt": b"1"})
    assert third.oid != first.oid
    assert third.tree_id == first.tree_id != second.tree_id
    with catalog.database.read() as connection:
        assert len(connection.execute(select(TREES)).all()) == 3


def test_each_file_and_folder_names_the_last_commit_that_changed_it(
    catalog: Catalog, push: Push
) -> None:
    first = push({"a.txt": b"1", "d/x": b"1", "d/y": b"1"})
    second = push({"d/y": b"2"})
    found = catalog.history.last_changes(second, {"a.txt", "d", "d/x", "d/y"})
    assert found == {"a.txt": first, "d/x": first, "d": second, "d/y": second}
    third = push({"a.txt": b"2", "e": b"1"}, Remove("d/x"))
    fourth = push({"e/f/g": b"1"}, Remove("e"))
    found = catalog.history.last_changes(fourth, {"a.txt", "d", "d/y", "e", "e/f", "e/f/g"})
    assert found == {
        **{"a.txt": third, "d": third, "d/y": second},
        **{"e": fourth, "e/f": fourth, "e/f/g": fourth},
    }
    assert catalog.history.last_changes(first, {"a.txt", "d"}) == {"a.txt": first, "d": first}


def test_some_files_of_a_commit_can_be_asked_for(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    first = push({"README.md": b"# x", "a.txt": b"a"})
    second = push({"README.md": b"# y"})
    found = catalog.history.files(first, ["README.md", "training.png"])
    assert [*found] == ["README.md"]
    assert found["README.md"].oid == blob_id(b"# x")
    assert catalog.history.files(second, ["README.md"])["README.md"].oid == blob_id(b"# y")


def test_a_folder_of_a_commit_is_told_with_all_that_is_below_it(
    catalog: Catalog, push: Push
) -> None:
    commit = push({"d/a": b"1", "d/e/b": b"22", "D2/c": b"3", "d_/x": b"4", "d%/x": b"5"})

    def told(folder: str) -> list[tuple[str, int]]:
        return sorted((path, size) for path, size, _ in catalog.history.folder(commit, folder))

    assert told("d") == [("d/a", 1), ("d/e/b", 2)]
    assert told("d_") == [("d_/x", 1)]
    assert told("D") == told("d/a") == told("absent") == []
    assert len(told("")) == 6


def test_what_differs_between_two_commits_is_told_by_path(catalog: Catalog, push: Push) -> None:
    first = push({"a": b"1", "b": b"22", "c": b"333", "z": b""})
    second = push({"b": b"4444", "d/e": b"5"}, Remove("a"), Remove("z"))
    found = catalog.history.differences(first, second, 9)
    assert found == [
        ChangedFile("a", 1, None),
        ChangedFile("b", 2, 4),
        ChangedFile("d/e", None, 1),
        ChangedFile("z", 0, None),
    ]
    assert catalog.history.differences(first, second, 1) == found[:1]
    assert catalog.history.differences(second, second, 9) == []
    everything = catalog.history.differences(None, second, 9)
    assert [one.path for one in everything] == [".gitattributes", "b", "c", "d/e"]
    assert {one.before for one in everything} == {None}


def test_a_commit_is_asked_for_files_with_an_ending(catalog: Catalog, push: Push) -> None:
    commit = push({"d/a.csv": b"1", "b_csv": b"2"})
    assert catalog.history.has_ending(commit, [".parquet", ".csv"])
    assert not catalog.history.has_ending(commit, [".parquet", "%.c"])
