"""What a reader of a hub may read."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

from registry import AdapterRef, Catalog, Folder
from registry.accounts.accounts import Accounts
from registry.history.history import History
from registry.manifest import Manifest
from registry.tables.reader import Reader, may_read_parents


def made_of(*digests: str) -> Manifest:
    """A manifest, as far as its parents."""
    parents = [SimpleNamespace(digest=digest) for digest in digests]
    return cast(Manifest, SimpleNamespace(parents=parents))


def test_parents_that_are_private_can_be_fused_by_those_who_read_them(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    ada, bob = (Accounts(catalog.store).add_user(name).id for name in ("ada", "bob"))
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
