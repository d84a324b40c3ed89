"""The steps that change what is published: aliases, yanks, deletion.

Each changes the rows and appends to the log in one transaction.
"""

from datetime import UTC, datetime

from sqlalchemy import Connection

from registry.catalog.store import Store
from registry.fields import check_text
from registry.refs import AdapterRef
from registry.tables.edit import delete_adapter, drop_alias, point_alias, set_yank
from registry.tables.versions import Version, load_version


def set_alias(store: Store, ref: AdapterRef, alias: str) -> Version:
    """As `Catalog.set_alias`."""

    def change(connection: Connection) -> Version:
        revision, is_new = point_alias(connection, ref, alias)
        version = load_version(connection, revision)
        if is_new:
            store.log.append(connection, "alias", ref, alias=alias, number=version.number)
        return version

    return store.database.transact(change)


def remove_alias(store: Store, ref: AdapterRef, alias: str) -> None:
    """As `Catalog.remove_alias`."""

    def change(connection: Connection) -> None:
        drop_alias(connection, ref, alias)
        store.log.append(connection, "unalias", ref, alias=alias)

    store.database.transact(change)


def yank(store: Store, ref: AdapterRef, reason: str) -> Version:
    """As `Catalog.yank`."""
    check_text("reason", reason)

    def change(connection: Connection) -> Version:
        at = datetime.now(UTC)
        version = load_version(connection, set_yank(connection, ref, at, reason))
        details = {"number": version.number, "reason": reason, "yanked_at": at.isoformat()}
        store.log.append(connection, "yank", ref, **details)
        return version

    return store.database.transact(change)


def unyank(store: Store, ref: AdapterRef) -> Version:
    """As `Catalog.unyank`."""

    def change(connection: Connection) -> Version:
        version = load_version(connection, set_yank(connection, ref, None, None))
        store.log.append(connection, "unyank", ref, number=version.number)
        return version

    return store.database.transact(change)


def delete(store: Store, ref: AdapterRef) -> list[int]:
    """As `Catalog.delete`."""

    def change(connection: Connection) -> list[int]:
        at = datetime.now(UTC)
        numbers = delete_adapter(connection, ref, at)
        store.log.append(connection, "delete", ref, numbers=numbers, deleted_at=at.isoformat())
        return numbers

    return store.database.transact(change)
