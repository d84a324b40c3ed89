"""Accounts, and what is pushed to their repositories."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import pytest
from sqlalchemy import insert

from registry import AdapterRef, Catalog, Folder
from registry.history.changes import Change, Put
from registry.history.commits import Commit
from registry.history.committing import Committer
from registry.history.repositories import Repository
from registry.history.trees import TreeFile, is_large
from registry.tables.models import ACCOUNTS

Push: TypeAlias = Callable[..., Commit]
REF = AdapterRef.parse("ada/x")


@pytest.fixture
def ada(catalog: Catalog) -> int:
    return add_account(catalog, "ada")


@pytest.fixture
def bob(catalog: Catalog) -> int:
    return add_account(catalog, "bob")


def add_account(catalog: Catalog, name: str) -> int:
    with catalog.database.write() as connection:
        made = connection.scalar(
            insert(ACCOUNTS).returning(ACCOUNTS.c.id),
            {
                "name": name,
                "folded": name,
                "kind": "user",
                "admin": False,
                "created_at": datetime.now(UTC),
            },
        )
    assert made is not None
    return int(made)


def puts(catalog: Catalog, files: Mapping[str, bytes]) -> list[Change]:
    """Store bytes, and return what a commit says of them."""
    changes: list[Change] = []
    for path, content in files.items():
        info = catalog.blobs.put(BytesIO(content))
        large = is_large(path, len(content))
        file = TreeFile.pointed(path, info) if large else TreeFile.small(path, content)
        changes.append(Put(file))
    return changes


@pytest.fixture
def repository(catalog: Catalog, ada: int) -> Repository:
    return catalog.history.create("model", REF, account_id=ada, visibility="public", actor="ada")


@pytest.fixture
def push(catalog: Catalog, repository: Repository) -> Push:
    def push(
        files: Mapping[str, bytes],
        *more: Change,
        branch: str = "main",
        title: str = "push",
        **kw: str,
    ) -> Commit:
        changes = [*puts(catalog, files), *more]
        return Committer(catalog.store).commit(
            repository, branch, changes, title=title, actor="ada (laptop)", **kw
        )

    return push


def files_of(folder: Folder) -> dict[str, bytes]:
    """Return the files of a folder on disk."""
    root = Path(folder.path)
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def paths(catalog: Catalog, repository: Repository, revision: str = "main") -> list[str]:
    tree = catalog.history.tree(catalog.history.resolve(repository, revision))
    return [file.path for file in tree.files if file.path != ".gitattributes"]
