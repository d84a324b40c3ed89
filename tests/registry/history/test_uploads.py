"""What somebody may name in a commit, and what belongs to nobody."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from registry import AdapterRef, Catalog, Folder
from registry.history.history import History
from registry.history.repositories import Repository
from registry.history.uploads import Reader, may_read_parents
from registry.manifest import Manifest
from registry.tables.listings import count_downloads


def made_of(*digests: str) -> Manifest:
    """A manifest, as far as its parents."""
    parents = [SimpleNamespace(digest=digest) for digest in digests]
    return cast(Manifest, SimpleNamespace(parents=parents))


def test_parents_that_are_private_can_be_fused_by_those_who_read_them(
    catalog: Catalog, ada: int, bob: int, make_folder: Callable[..., Folder]
) -> None:
    digest = catalog.publish(AdapterRef("ada", "x"), make_folder()).manifest_digest
    found = History(catalog.store).find("model", AdapterRef("ada", "x"))
    assert found is not None

    def readers() -> list[bool]:
        with catalog.database.read() as connection:
            return [
                may_read_parents(reader, connection, made_of(digest))
                for reader in (
                    Reader(),
                    Reader(frozenset({bob})),
                    Reader(frozenset({ada})),
                    Reader(frozenset({ada}), frozenset({found.id + 1})),
                    Reader(everything=True),
                )
            ]

    assert readers() == [False, False, True, False, True]
    History(catalog.store).set_visibility(found, "public", "ada")
    assert readers() == [True] * 5
    with catalog.database.read() as connection:
        assert may_read_parents(Reader(), connection, made_of())
        assert not may_read_parents(Reader(everything=True), connection, made_of("ab" * 32))


def test_what_belongs_to_no_account_is_named(
    catalog: Catalog, ada: int, make_folder: Callable[..., Folder]
) -> None:
    for ref in (AdapterRef("ada", "x"), AdapterRef(None, "y"), AdapterRef("zoe", "b")):
        catalog.publish(ref, make_folder())
    assert History(catalog.store).without_account() == [
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
    history = History(catalog.store)
    found = history.find("model", repository.ref)
    assert found is not None
    assert found.downloads == 5
