from collections.abc import Callable

import pytest

from registry import AdapterRef, Catalog, Folder
from registry.errors import (
    ConflictError,
    ExistsError,
    InvalidNameError,
    RevisionNotFoundError,
)
from registry.history.changes import Remove
from registry.history.committing import Committer
from registry.history.repositories import Repository
from registry.maintenance.rebuild import rebuild
from tests.registry.history.conftest import REF, Push, files_of, puts


def test_a_revision_is_a_branch_then_a_tag_then_an_id(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    history = catalog.history
    first, second = push({"a.txt": b"1"}), push({"a.txt": b"2"})
    history.create_branch(repository, "feat/x", first, "ada")
    history.create_tag(repository, "both", first, "said", "ada")
    history.create_branch(repository, "both", second, "ada")
    assert history.resolve(repository, "feat/x") == first
    assert history.resolve(repository, "both") == second
    assert history.resolve(repository, first.oid) == first
    for revision in ("nope", "ab" * 20, "", "a\0b"):
        with pytest.raises(RevisionNotFoundError):
            history.resolve(repository, revision)
    push({"a.txt": b"3"}, branch="feat/x")
    assert history.resolve(repository, "main") == second
    (tag,) = history.tags(repository)
    assert (tag.name, tag.oid, tag.message) == ("both", first.oid, "said")


def test_no_branch_takes_the_place_of_the_tag_of_a_version(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    history, start = catalog.history, push({"a.txt": b"1"})
    for name in ("v1", "v2"):
        history.create_branch(repository, name, start, "ada")
    assert history.resolve(repository, "v1") == start
    beside = push({"a.txt": b"2"}, branch="v1")
    version = push(files_of(make_folder()), Remove("a.txt"))
    assert version.version == 1
    assert history.resolve(repository, "v1") == version
    assert beside.oid in {branch.oid for branch in history.branches(repository)}
    assert history.resolve(repository, "v2") == start


def test_the_tag_of_a_version_is_no_name_for_a_branch(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    history, version = catalog.history, push(files_of(make_folder()))
    assert version.version == 1
    with pytest.raises(InvalidNameError, match="v1 is the tag of a version of ada/x"):
        history.create_branch(repository, "v1", version, "ada")
    history.create_branch(repository, "v2", version, "ada")


def test_branches_and_tags_are_made_once_and_can_go(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    history, head = catalog.history, push({"a.txt": b"1"})
    history.create_branch(repository, "dev", head, "ada")
    history.create_tag(repository, "v1.0", head, None, "ada")
    with pytest.raises(ExistsError):
        history.create_branch(repository, "dev", head, "ada")
    with pytest.raises(ExistsError):
        history.create_tag(repository, "v1.0", head, None, "ada")
    history.delete_branch(repository, "dev", "ada")
    history.delete_tag(repository, "v1.0", "ada")
    with pytest.raises(RevisionNotFoundError):
        history.delete_branch(repository, "dev", "ada")
    with pytest.raises(RevisionNotFoundError):
        history.delete_tag(repository, "v1.0", "ada")
    with pytest.raises(ConflictError):
        history.delete_branch(repository, "main", "ada")


def test_squashing_leaves_one_commit_and_those_of_versions(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    history = catalog.history
    published = push(files_of(make_folder()))
    lost = push({"README.md": b"x"})
    push({"README.md": b"y"})
    squashed = history.squash(repository, "main", "all", "ada")
    assert history.commits(squashed, 10) == [squashed]
    assert history.resolve(repository, "v1").oid == published.oid
    with pytest.raises(RevisionNotFoundError):
        history.resolve(repository, lost.oid)


@pytest.mark.sqlite
@pytest.mark.parametrize("is_adapter", [True, False])
def test_what_a_squashed_commit_holds_is_brought_back_from_the_log(
    catalog: Catalog,
    repository: Repository,
    push: Push,
    make_folder: Callable[..., Folder],
    is_adapter: bool,
) -> None:
    push(files_of(make_folder()) if is_adapter else {"a.txt": b"a"})
    squashed = catalog.history.squash(repository, "main", "all", "ada")
    assert (squashed.version, squashed.reason is None) == (
        (1, True) if is_adapter else (None, False)
    )
    catalog.database.close()
    catalog.database.path.unlink()
    rebuild(catalog)
    again = catalog.history.find("model", REF)
    assert again is not None
    back = catalog.history.resolve(again, squashed.oid)
    assert (back.version, back.reason) == (squashed.version, squashed.reason)


def test_a_commit_that_was_squashed_away_is_told_to_be_gone(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    gone = push({"a.txt": b"a"})
    push({"a.txt": b"b"})
    history = catalog.history
    history.squash(repository, "main", "One", "ada")
    for ask in (
        lambda: history.tree(gone),
        lambda: history.file(gone, "a.txt"),
        lambda: history.commits(gone, 10),
        lambda: history.last_changes(gone, ["a.txt"]),
        lambda: history.facts_at(repository, gone),
        lambda: history.create_branch(repository, "old", gone, "ada"),
        lambda: history.create_tag(repository, "old", gone, None, "ada"),
    ):
        with pytest.raises(RevisionNotFoundError, match="no longer there"):
            ask()  # type: ignore[no-untyped-call]


def test_a_row_that_another_commit_got_is_not_taken_for_the_one_that_is_gone(
    catalog: Catalog, repository: Repository, ada: int, push: Push
) -> None:
    gone = push({"a.txt": b"a"})
    catalog.history.delete(repository, "ada")
    other = catalog.history.create(
        "dataset", AdapterRef("ada", "secret"), account_id=ada, visibility="private", actor="ada"
    )
    for name in ("b.txt", "c.txt", "d.txt"):
        Committer(catalog.store).commit(
            other, "main", puts(catalog, {name: b"!"}), title=name, actor="ada"
        )
    with pytest.raises(RevisionNotFoundError, match="no longer there"):
        catalog.history.tree(gone)
