"""The key that a hub signs with: it is in the database, and nowhere else."""

import secrets

from sqlalchemy import Connection, insert, select

from registry.store import Store
from registry.tables.models import SECRETS

_NAME = "uploads"


def signing_key(store: Store) -> str:
    """Return the key of a registry, 256 random bits as text; all processes get the same one.

    The first call makes it.
    """
    kept = select(SECRETS.c.value).where(SECRETS.c.name == _NAME)

    def make(connection: Connection) -> str:
        value: str | None = connection.scalar(kept)
        if value is None:
            value = secrets.token_urlsafe(32)
            connection.execute(insert(SECRETS), {"name": _NAME, "value": value})
        return value

    with store.database.read() as connection:
        found: str | None = connection.scalar(kept)
    return store.database.transact(make) if found is None else found
