from collections.abc import Callable

import pytest

from registry import AdapterRef, Catalog, Folder
from registry.errors import (
    ConflictError,
    ExistsError,
    InvalidNameError,
    PartOfAdapterError,
    RefNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from registry.history.committing import Committer
from registry.history.repositories import Repository
from registry.search.search import search
from registry.tables.listings import count_downloads
from tests.registry.history.conftest import REF, Push, files_of, paths, puts


def test_a_new_repository_has_a_main_branch_with_one_commit(
    catalog: Catalog, repository: Repository
) -> None:
    head = catalog.history.resolve(repository, "main")
    assert catalog.history.commits(head, 10) == [head]
    assert head.parent is None
    assert [branch.name for branch in catalog.history.branches(repository)] == ["main"]
    assert catalog.history.tags(repository) == []
    assert paths(catalog, repository) == []


def test_a_deleted_repository_comes_back_empty_to_its_account_alone(
    catalog: Catalog,
    repository: Repository,
    push: Push,
    bob: int,
    ada: int,
    make_folder: Callable[..., Folder],
) -> None:
    history = catalog.history
    old = push(files_of(make_folder()))
    history.delete(repository, "ada")
    assert history.find("model", REF) is None
    with pytest.raises(RepositoryNotFoundError):
        history.delete(repository, "ada")
    with pytest.raises(RepositoryNotFoundError):
        push({"a.txt": b"1"})
    with pytest.raises(ConflictError, match="no other account gets its name"):
        history.create("model", REF, account_id=bob, visibility="public", actor="bob")
    again = history.create("model", REF, account_id=ada, visibility="private", actor="ada")
    assert paths(catalog, again) == []
    with pytest.raises(RevisionNotFoundError):
        history.resolve(again, old.oid)
    changes = puts(catalog, files_of(make_folder()))
    made = Committer(catalog.store).commit(again, "main", changes, title="again", actor="ada")
    assert made.version == 2


def test_a_former_name_of_a_deleted_repository_is_made_anew_by_its_account_alone(
    catalog: Catalog,
    repository: Repository,
    push: Push,
    bob: int,
    ada: int,
    make_folder: Callable[..., Folder],
) -> None:
    history = catalog.history
    push(files_of(make_folder()))
    history.move(repository, AdapterRef.parse("ada/y"), account_id=ada, actor="ada")
    history.delete(history.get(repository.id), "ada")
    with pytest.raises(InvalidNameError, match="is the former name"):
        history.create("model", REF, account_id=bob, visibility="public", actor="bob")
    again = history.create("model", REF, account_id=ada, visibility="private", actor="ada")
    assert (again.id, paths(catalog, again)) == (repository.id, [])
    assert history.find("model", AdapterRef.parse("ada/y")) == again
    changes = puts(catalog, files_of(make_folder()))
    made = Committer(catalog.store).commit(again, "main", changes, title="again", actor="ada")
    assert made.version == 2


def test_a_name_that_only_looks_different_is_refused(
    catalog: Catalog, repository: Repository, ada: int
) -> None:
    with pytest.raises(ExistsError):
        catalog.history.create("model", REF, account_id=ada, visibility="public", actor="ada")
    with pytest.raises(InvalidNameError, match="differs only in case"):
        catalog.history.create(
            "model", AdapterRef.parse("ada/X"), account_id=ada, visibility="public", actor="ada"
        )


def test_repositories_of_other_kinds_have_names_of_their_own(
    catalog: Catalog, repository: Repository, push: Push, ada: int
) -> None:
    made = catalog.history.create("dataset", REF, account_id=ada, visibility="public", actor="ada")
    assert made.place == "datasets/ada/x"
    Committer(catalog.store).commit(
        made, "main", puts(catalog, {"t.csv": b"1"}), title="t", actor="ada"
    )
    assert paths(catalog, made) == ["t.csv"]
    assert paths(catalog, repository) == []
    catalog.history.delete(made, "ada")
    assert catalog.history.find("dataset", REF) is None
    assert catalog.history.find("model", REF) == repository


def test_a_moved_repository_is_found_by_both_names(
    catalog: Catalog,
    repository: Repository,
    push: Push,
    ada: int,
    bob: int,
    make_folder: Callable[..., Folder],
) -> None:
    push(files_of(make_folder()))
    to = AdapterRef.parse("bob/y")
    catalog.history.move(repository, to, account_id=bob, actor="ada")
    moved = catalog.history.find("model", REF)
    assert moved is not None
    assert (moved.ref, moved.account_id, moved.id) == (to, bob, repository.id)
    assert catalog.history.find("model", to) == moved
    assert catalog.resolve(to).number == 1
    with pytest.raises(InvalidNameError, match="still leads to it"):
        catalog.history.create("model", REF, account_id=ada, visibility="public", actor="ada")
    catalog.history.move(moved, REF, account_id=ada, actor="bob")
    assert catalog.history.find("model", to) is not None


def test_an_adapter_is_moved_with_its_versions_and_found_by_its_new_name(
    catalog: Catalog, make_folder: Callable[..., Folder], ada: int
) -> None:
    plain, to = AdapterRef.parse("reviews"), AdapterRef.parse("ada/films")
    catalog.publish(plain, make_folder())
    catalog.set_alias(plain, "best")
    catalog.move(plain, to)
    assert str(catalog.resolve(AdapterRef.parse("ada/films@best")).ref) == "ada/films@1"
    with pytest.raises(RefNotFoundError):
        catalog.resolve(plain)
    assert [str(one.ref) for one in search(catalog, owner="ada").items] == ["ada/films@1"]
    assert [str(one.ref) for one in search(catalog, text="films").items] == ["ada/films@1"]
    assert search(catalog, text="reviews").items == ()
    moved = catalog.history.find("model", to)
    assert moved is not None
    assert moved.account_id == ada
    with pytest.raises(PartOfAdapterError):
        catalog.move(to.at(1), plain)
    catalog.publish(AdapterRef.parse("ada/taken"), make_folder())
    with pytest.raises(ExistsError):
        catalog.move(to, AdapterRef.parse("ada/taken"))


def test_what_is_done_to_a_repository_that_was_moved_meanwhile_is_logged_under_its_name(
    catalog: Catalog, repository: Repository, ada: int, push: Push
) -> None:
    head = push({"a.txt": b"a"})
    history = catalog.history
    history.move(repository, AdapterRef("ada", "y"), account_id=ada, actor="ada")
    history.create_branch(repository, "dev", head, "ada")
    history.create_tag(repository, "t", head, None, "ada")
    history.squash(repository, "dev", "One", "ada")
    history.delete_tag(repository, "t", "ada")
    history.delete_branch(repository, "dev", "ada")
    with catalog.database.read() as connection:
        names = [entry.name for entry in list(catalog.log.entries(connection))[-6:]]
    assert names == ["ada/x", *["ada/y"] * 5]


def test_nothing_is_done_to_a_repository_that_was_deleted_meanwhile(
    catalog: Catalog, repository: Repository, push: Push
) -> None:
    head = push({"a.txt": b"a"})
    history = catalog.history
    history.delete(repository, "ada")
    for change in (
        lambda: history.create_branch(repository, "dev", head, "ada"),
        lambda: history.delete_branch(repository, "dev", "ada"),
        lambda: history.create_tag(repository, "t", head, None, "ada"),
        lambda: history.delete_tag(repository, "t", "ada"),
        lambda: history.squash(repository, "main", "One", "ada"),
    ):
        with pytest.raises(RepositoryNotFoundError):
            change()  # type: ignore[no-untyped-call]


def test_what_belongs_to_no_account_is_named(
    catalog: Catalog, ada: int, make_folder: Callable[..., Folder]
) -> None:
    for ref in (AdapterRef("ada", "x"), AdapterRef(None, "y"), AdapterRef("zoe", "b")):
        catalog.publish(ref, make_folder())
    assert catalog.history.without_account() == [
        AdapterRef(None, "y"),
        AdapterRef("zoe", "b"),
    ]


def test_downloads_are_counted_where_they_are_listed(
    catalog: Catalog, repository: Repository
) -> None:
    for count in (2, 3):
        catalog.database.transact(
            lambda connection, count=count: count_downloads(connection, {repository.id: count})
        )
    found = catalog.history.find("model", repository.ref)
    assert found is not None
    assert found.downloads == 5
