import pytest

from registry import Catalog
from registry.errors import InvalidNameError
from registry.history.repositories import Repository
from tests.registry.history.conftest import Push
from tests.support.sweeps import on_one_each

NAMES = ("", "a b", "a..b", ".a", "a/", "a.lock", "-a", "a~", "ab" * 20, "a\x7f", "x" * 245, "@")


@on_one_each("name", [(name,) for name in NAMES])
def test_names_that_git_refuses_are_refused(
    catalog: Catalog, repository: Repository, push: Push, name: str
) -> None:
    head = push({"a.txt": b"1"})
    with pytest.raises(InvalidNameError):
        catalog.history.create_branch(repository, name, head, "ada")
    with pytest.raises(InvalidNameError):
        catalog.history.create_tag(repository, name, head, None, "ada")


PATHS = ("../x", "/x", "a//b", "a/./b", "", "a/", ".git/config", "a/.GIT/b", "a\0b", "a\\b")


@on_one_each("path", [(path,) for path in PATHS])
def test_a_path_that_git_refuses_changes_nothing(
    catalog: Catalog, repository: Repository, push: Push, path: str
) -> None:
    head = push({"a.txt": b"1"})
    with pytest.raises(InvalidNameError):
        push({path: b"2"})
    assert catalog.history.resolve(repository, "main") == head
