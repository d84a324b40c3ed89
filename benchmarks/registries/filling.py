"""Filling a registry with the rows and files that publishing writes, many at once."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.pool import AsyncResult, Pool
from typing import Any

from sqlalchemy import Connection, Table, update

from benchmarks.registries.made_up import SHARED, WEIGHTS, make_manifest, name
from registry import AdapterRef, Catalog, Manifest
from registry.database.journal import journal_mode
from registry.database.sqlite import Sqlite
from registry.history.git import commit_id
from registry.history.names import MAIN, version_tag
from registry.history.trees import Tree, tree_rows
from registry.history.versions import message_of, tree_of
from registry.log.entry import Entry, canonical
from registry.log.log import START, current_user
from registry.tables.listings import NO_SCORE
from registry.tables.models import METADATA
from registry.tables.record import columns
from registry.tables.text_index import add_texts, text_columns

_BATCH = 10_000
_USER = current_user()
_TABLES = METADATA.tables
_START = datetime(2026, 1, 1, tzinfo=UTC)
_AUTHOR = "filler"


def fill(catalog: Catalog, size: int) -> None:
    """Fill an empty registry with that many adapters of one version each.

    A second process writes the files meanwhile.
    """
    catalog.log.records.path(size).parent.mkdir(parents=True)
    with get_context("spawn").Pool(1) as pool:
        _write_all([(str(catalog.blobs.path(SHARED.sha256)), WEIGHTS)])
        _fill_tables(catalog, size, pool)


def _fill_tables(catalog: Catalog, size: int, pool: Pool) -> None:
    tables = (
        *("repositories", "revisions", "files", "metrics", "tags", "listings"),
        *("trees", "tree_files", "commits", "branches", "commit_tags", "log"),
    )
    indexes = [index for table in tables for index in sorted_indexes(_TABLES[table])]
    previous = START
    written: AsyncResult[None] | None = None
    with _hurried(catalog) as connection:
        for index in indexes:
            index.drop(connection)
        for batch in batches(size):
            rows: dict[str, list[dict[str, Any]]] = {table: [] for table in tables}
            texts = []
            files = []
            for number in batch:
                manifest = make_manifest(number)
                ref = AdapterRef.parse(name(number - 1))
                content = manifest.to_json()
                digest = hashlib.sha256(content).hexdigest()
                files.append((str(catalog.blobs.path(digest)), content))
                _add_rows(rows, number, ref, manifest, digest)
                texts.append((number, ref, manifest))
                tree = tree_of(manifest, lambda _: io.BytesIO(WEIGHTS))
                files.append((str(catalog.blobs.path(tree.digest)), tree.to_json()))
                commit = _add_commit(rows, number, tree)
                entry = _log_entry(number, ref, digest, commit, tree, previous)
                content = entry.to_json()
                previous = hashlib.sha256(content).hexdigest()
                files.append((str(catalog.log.records.path(number)), content))
                rows["log"].append(_log_row(entry, ref, previous))
            if written is not None:
                written.get()
            written = pool.apply_async(_write_all, (files,))
            for table, values in rows.items():
                _insert(connection, _TABLES[table], values)
            _index_text(connection, texts)
            connection.execute(update(_TABLES["log_head"]).values(sequence=number, hash=previous))
            connection.commit()
        if written is not None:
            written.get()
        for index in indexes:
            index.create(connection)
        connection.commit()
        if connection.dialect.name == "postgresql":
            for table in ("repositories", "revisions", "trees", "commits"):
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {size})"
                )
            connection.exec_driver_sql("ANALYZE")  # as the server does by itself after a while
            connection.commit()


def sorted_indexes(table: Table) -> list[Any]:
    return sorted(table.indexes, key=lambda index: str(index.name))


@contextmanager
def _hurried(catalog: Catalog) -> Iterator[Connection]:
    """Yield a connection that writes at once and without a journal, if it is to a file."""
    backend = catalog.database.backend
    catalog.database.close()  # the journal changes only while nobody else has the file open
    with backend.engine.connect() as connection:
        if not isinstance(backend, Sqlite):
            yield connection
            return
        driver = connection.connection.driver_connection
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-1000000"):
            driver.execute(f"PRAGMA {pragma}")
        yield connection
        connection.commit()
        driver.execute(f"PRAGMA journal_mode={journal_mode(backend.path)}")
    catalog.database.close()


def _add_rows(
    rows: dict[str, list[dict[str, Any]]],
    number: int,
    ref: AdapterRef,
    manifest: Manifest,
    digest: str,
) -> None:
    at = _stored(_START + timedelta(seconds=number))
    facts = columns(manifest)
    rows["repositories"].append(
        {
            "id": number,
            "owner": ref.owner,
            "name": ref.name,
            "folded": ref.folded,
            "created_at": at,
            "deleted_at": None,
            "next_number": 2,
        }
    )
    rows["revisions"].append(
        {
            "id": number,
            "repository_id": number,
            "number": 1,
            "manifest_digest": digest,
            "author": _AUTHOR,
            "message": "",
            "created_at": at,
            **facts,
        }
    )
    rows["files"] += (
        {"revision_id": number, "path": path, "sha256": info.sha256, "size": info.size}
        for path, info in manifest.files.items()
    )
    rows["metrics"] += (
        {"revision_id": number, "position": position, **metric.model_dump()}
        for position, metric in enumerate(manifest.metrics)
    )
    rows["tags"] += (
        {"revision_id": number, "position": position, "tag": tag}
        for position, tag in enumerate(manifest.tags)
    )
    best = next((m.value for m in manifest.metrics if m.higher_is_better), NO_SCORE)
    rows["listings"].append(
        {
            "repository_id": number,
            "revision_id": number,
            "owner": ref.folded.partition("/")[0],
            "score": best,
            "downloads": 0,
            **{name: fact for name, fact in facts.items() if name in _TABLES["listings"].c},
        }
    )


def _add_commit(rows: dict[str, list[dict[str, Any]]], number: int, tree: Tree) -> str:
    """Add the commit of a version, with its branch and tag; return its id in git."""
    at = _START + timedelta(seconds=number)
    message = message_of("", 1)
    oid = commit_id(tree.oid, None, _AUTHOR, at, message)
    sizes = {"files": len(tree.files), "size": tree.size}
    rows["trees"].append({"id": number, "digest": tree.digest, "oid": tree.oid, **sizes})
    rows["tree_files"] += tree_rows(number, tree)
    rows["commits"].append(
        {
            "id": number,
            "repository_id": number,
            "oid": oid,
            "tree_id": number,
            "author": _AUTHOR,
            "message": message,
            "created_at": _stored(at),
            "revision_id": number,
        }
    )
    of_commit = {"repository_id": number, "commit_id": number}
    rows["branches"].append({**of_commit, "name": MAIN})
    rows["commit_tags"].append({**of_commit, "name": version_tag(1), "created_at": _stored(at)})
    return oid


def _log_entry(
    number: int, ref: AdapterRef, digest: str, commit: str, tree: Tree, previous: str
) -> Entry:
    at = (_START + timedelta(seconds=number)).isoformat()
    details = {
        "number": 1,
        "digest": digest,
        "author": _AUTHOR,
        "message": "",
        "created_at": at,
        "branch": MAIN,
        "commit": commit,
        "parent": None,
        "tree": tree.digest,
    }
    return Entry(
        sequence=number,
        at=at,
        actor=_USER,
        action="publish",
        name=str(ref),
        details=details,
        previous=previous,
    )


def _log_row(entry: Entry, ref: AdapterRef, digest: str) -> dict[str, Any]:
    return {
        "sequence": entry.sequence,
        "at": _stored(datetime.fromisoformat(entry.at)),
        "actor": entry.actor,
        "action": entry.action,
        "name": entry.name,
        "folded": ref.folded,
        "details": canonical(entry.details).decode(),
        "previous": entry.previous,
        "hash": digest,
    }


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows past SQLAlchemy, to which a row costs more than to the database."""
    names = list(rows[0])
    mark = ":{}" if connection.dialect.name == "sqlite" else "%({})s"
    values = ", ".join(mark.format(name) for name in names)
    cursor = connection.connection.cursor()
    cursor.executemany(f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values})", rows)
    cursor.close()


def _stored(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S.%f}"


def _index_text(connection: Connection, texts: list[tuple[int, AdapterRef, Manifest]]) -> None:
    for start in range(0, len(texts), 500):
        batch = texts[start : start + 500]
        add_texts(connection, {number: text_columns(ref, made) for number, ref, made in batch})


def _write_all(files: Iterable[tuple[str, bytes]]) -> None:
    for path, content in files:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            file = os.open(path, flags, 0o444)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file = os.open(path, flags, 0o444)
        os.write(file, content)
        os.close(file)


def batches(size: int) -> Iterator[range]:
    for first in range(1, size + 1, _BATCH):
        yield range(first, min(first + _BATCH, size + 1))
