"""Connections to databases on a server that are kept from test to test.

In each new one, the server learns anew which tables there are, which takes longer than most tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from registry.database import database
from registry.database.backend import Backend

_CONNECTIONS: dict[str, psycopg.Connection[Any]] = {}
_BACKENDS: dict[str, Backend] = {}


def connected(url: str) -> psycopg.Connection[Any]:
    """A connection to fill and empty a database with: statements are final, keys unchecked."""
    try:
        _CONNECTIONS[url].execute("SELECT 1")
    except (KeyError, psycopg.OperationalError):  # there was none, or a test has ended it
        connection = psycopg.connect(url, autocommit=True, connect_timeout=3)
        connection.execute("SET session_replication_role = replica")  # no foreign keys
        _CONNECTIONS[url] = connection
    return _CONNECTIONS[url]


def disconnect() -> None:
    """Close all of these."""
    while _CONNECTIONS:
        _CONNECTIONS.popitem()[1].close()


@contextmanager
def sharing_connections() -> Iterator[None]:
    """Let the registries that are opened in the block go on with the connections of those before.

    Only those to a server: those to a file are made as fast as they are looked up.
    """
    make = database._backend

    def backend(where: Path | str) -> Backend:
        if isinstance(where, Path):
            return make(where)
        if where not in _BACKENDS:
            _BACKENDS[where] = made = make(where)
            dispose = made.engine.dispose
            # A forked process disposes of them without closing them.
            made.engine.dispose = lambda close=True: None if close else dispose(close=False)
        return _BACKENDS[where]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "_backend", backend)
        yield
