"""Registries that many tests begin with: to fill one takes many times longer than to copy it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine

from registry import Catalog
from registry.database.database import VERSION_TABLE
from registry.storage.object_blobs import ObjectBlobStore
from tests.support.servers import connected

Result = TypeVar("Result")
Objects = dict[str, bytes]

_EMPTY = 21
"""Bytes of a binary copy of no rows."""


@dataclass(frozen=True)
class _Rows:
    """What a database on a server holds."""

    tables: dict[str, bytes]
    sequences: dict[str, int]


class Remembered:
    """What registries held after a test filled them.

    Args:
        folder: Where to keep it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[tuple[str, ...], tuple[Any, list[_Rows | None], list[Objects]]] = {}

    def fill(
        self, what: str, catalogs: Sequence[Catalog], fill: Callable[[], Result]
    ) -> tuple[Result, bool]:
        """Fill empty registries, by hand or with copies of what they held the first time.

        Args:
            what: What they are filled with.
            catalogs: The registries, open.
            fill: How to fill them.

        Returns:
            What `fill` returned the first time, and whether that was now.
        """
        servers = [_server(catalog) for catalog in catalogs]
        key = (what, *("server" if server else "file" for server in servers))
        key += tuple("objects" for one in catalogs if isinstance(one.blobs, ObjectBlobStore))
        folders = [self._folder / "-".join(key) / str(at) for at in range(len(catalogs))]
        new = key not in self._kept
        if new:
            result = fill()
        for catalog in catalogs:
            catalog.close()  # SQLite's log is in its file then
        if new:
            for catalog, folder in zip(catalogs, folders, strict=True):
                shutil.copytree(catalog.home, folder)
            rows = [server and _rows(server) for server in servers]
            self._kept[key] = result, rows, [*map(_objects, catalogs)]
            return result, True
        result, rows, objects = self._kept[key]
        for catalog, folder, server, kept, put in zip(
            catalogs, folders, servers, rows, objects, strict=True
        ):
            shutil.copytree(folder, catalog.home, dirs_exist_ok=True)
            if server and kept:
                _restore(server, kept)
            if isinstance(catalog.blobs, ObjectBlobStore):
                bucket = catalog.blobs.bucket
                for name, content in put.items():
                    bucket.obstore.put(bucket.store, name, content)
        return result, False


def _objects(catalog: Catalog) -> Objects:
    """What lies in object storage; nothing if that is in a folder."""
    if not isinstance(catalog.blobs, ObjectBlobStore):
        return {}
    bucket = catalog.blobs.bucket
    names = [item["path"] for item in bucket.objects("")]
    return {name: bytes(bucket.obstore.get(bucket.store, name).bytes()) for name in names}


def _server(catalog: Catalog) -> str | None:
    """The URL of a database on a server; None for a file."""
    engine: Engine = catalog.database.backend.reading_engine
    if engine.dialect.name == "sqlite":
        return None
    return engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def _rows(server: str) -> _Rows:
    connection = connected(server)
    with connection.transaction():
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = {}
        for (name,) in names.fetchall():
            if name != VERSION_TABLE:
                with connection.cursor().copy(f"COPY {name} TO STDOUT (FORMAT binary)") as copy:
                    tables[name] = b"".join(copy)
        last = connection.execute(
            "SELECT sequencename, last_value FROM pg_sequences WHERE last_value IS NOT NULL"
        )
        return _Rows(tables, dict(last.fetchall()))


def _restore(server: str, rows: _Rows) -> None:
    connection = connected(server)
    with connection.transaction():
        connection.execute("DELETE FROM log_head")
        for name, content in rows.tables.items():
            if len(content) > _EMPTY:
                with connection.cursor().copy(f"COPY {name} FROM STDIN (FORMAT binary)") as copy:
                    copy.write(content)
        calls = [f"setval('{name}', {last})" for name, last in rows.sequences.items()]
        connection.execute(f"SELECT {', '.join(calls)}")
