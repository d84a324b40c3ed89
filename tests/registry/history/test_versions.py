from collections.abc import Callable

import pytest

from registry import AdapterRef, Catalog, Folder
from registry.errors import AliasNotFoundError, VersionNotFoundError
from registry.history.repositories import Repository
from tests.registry.history.conftest import REF, Push, files_of, paths


def test_what_is_published_here_is_committed_on_main(
    catalog: Catalog, repository: Repository, make_folder: Callable[..., Folder]
) -> None:
    folder = make_folder(task="sentiment")
    before = catalog.history.resolve(repository, "main")
    version = catalog.publish(REF, folder, message="Better\n\nby far")
    head = catalog.history.resolve(repository, "main")
    assert (head.version, head.title, head.description) == (version.number, "Better", "by far")
    assert head.parent == before.oid
    assert paths(catalog, repository) == sorted(files_of(folder))
    assert "sentiment" in catalog.history.facts(repository).tags


def test_a_version_is_found_by_a_tag_where_no_alias_is_called_so(
    catalog: Catalog, repository: Repository, push: Push, make_folder: Callable[..., Folder]
) -> None:
    first, _ = push(files_of(make_folder())), push(files_of(make_folder()))
    catalog.history.create_tag(repository, "stable", first, None, "ada")
    by_tag = AdapterRef.parse("ada/x@stable")
    assert catalog.resolve(by_tag).number == 1
    catalog.set_alias(REF.at(2), "stable")
    assert catalog.resolve(by_tag).number == 2
    catalog.remove_alias(REF, "stable")
    catalog.yank(REF.at(1), "wrong")
    with pytest.raises(AliasNotFoundError):
        catalog.resolve(by_tag)


def test_a_name_without_a_version_says_why_its_last_commit_makes_none(
    catalog: Catalog, push: Push
) -> None:
    commit = push({"notes.txt": b"x"})
    with pytest.raises(
        VersionNotFoundError, match=rf"last commit \({commit.oid[:12]}\) makes none"
    ):
        catalog.resolve(REF)


def test_the_version_that_a_commit_holds_is_known(
    catalog: Catalog, make_folder: Callable[..., Folder], repository: Repository, push: Push
) -> None:
    assert catalog.history.version(push({"a.txt": b"a"})) is None
    published = catalog.publish(REF, make_folder())
    head = catalog.history.resolve(repository, "main")
    assert catalog.history.version(head) == published
    assert catalog.history.versions(repository, 5) == [published]
