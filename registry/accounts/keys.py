"""Keys that a hub signs with: in its database, and nowhere else."""

import secrets

from sqlalchemy import Connection, insert, select

from registry.store import Store
from registry.tables.models import SECRETS


def find_key(store: Store, name: str) -> str:
    """Return the key of some name, 256 random bits as text; all processes get the same one.

    It is made when it is first asked for.

    Args:
        store: What holds the registry.
        name: What it is for, such as ``uploads``: one line of at most 48 characters.
    """
    kept = select(SECRETS.c.value).where(SECRETS.c.name == name)

    def make(connection: Connection) -> str:
        value: str | None = connection.scalar(kept)
        if value is None:
            value = secrets.token_urlsafe(32)
            connection.execute(insert(SECRETS), {"name": name, "value": value})
        return value

    with store.database.read() as connection:
        found: str | None = connection.scalar(kept)
    return store.database.transact(make) if found is None else found
