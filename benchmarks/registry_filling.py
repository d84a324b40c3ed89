"""Filling a registry with the rows and files that publishing writes, many at once."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, insert, update

from registry import AdapterRef, Catalog, Manifest
from registry.log import START, Entry, current_user
from registry.storage.files import FileInfo
from registry.tables.base import Base
from registry.tables.listings import NO_SCORE
from registry.tables.recording import columns
from registry.tables.text_index import text_entry

BASES = tuple(f"team/base-{number}" for number in range(20))
TASKS = tuple(f"task-{number}" for number in range(50))
LANGUAGES = ("en", "de", "fr", "es", "zh")
LICENSES = ("apache-2.0", "mit", "cc-by-4.0")
METHODS = ("seq_bn", "double_seq_bn", "par_bn", "lora")
RARE_WORD = "quetzalcoatlus"
COMMON_WORD = "benchmark"
"""In every description."""

WORDS = tuple(
    "".join(random.Random(number).choices("bcdfghklmnprstvz", k=3))
    + random.Random(-number - 1).choice("aeiou") * 2
    + str(number)
    for number in range(20_000)
)
_BATCH = 10_000
_TABLES = Base.metadata.tables
_START = datetime(2026, 1, 1, tzinfo=UTC)


def name(number: int) -> str:
    """What the adapter of that number is called."""
    return f"owner{number % 1000}/adapter-{number}"


def dataset(task: int) -> str:
    return f"data-{task}"


def fill(catalog: Catalog, size: int) -> None:
    """Fill an empty registry with that many adapters of one version each."""
    weights = b"weights"
    shared = FileInfo(sha256=hashlib.sha256(weights).hexdigest(), size=len(weights))
    _write(catalog.blobs.path(shared.sha256), weights)
    tables = ("repositories", "revisions", "files", "metrics", "tags", "listings", "log")
    indexes = [index for table in tables for index in sorted_indexes(_TABLES[table])]
    engine = catalog.database.backend.engine
    previous = START
    with engine.connect() as connection:
        _hurry(connection)
        for index in indexes:
            index.drop(connection)
        for batch in batches(size):
            rows: dict[str, list[dict[str, Any]]] = {table: [] for table in tables}
            texts = []
            for number in batch:
                manifest = _manifest(number, shared)
                ref = AdapterRef.parse(name(number - 1))
                content = manifest.to_json()
                digest = hashlib.sha256(content).hexdigest()
                _write(catalog.blobs.path(digest), content)
                _add_rows(rows, number, ref, manifest, digest)
                texts.append((number, ref, manifest))
                entry = _log_entry(number, ref, digest, previous)
                previous = _add_entry(catalog, rows["log"], entry, ref)
            for table, values in rows.items():
                connection.execute(insert(_TABLES[table]), values)
            _index_text(connection, texts)
            connection.execute(update(_TABLES["log_head"]).values(sequence=number, hash=previous))
            connection.commit()
            _hurry(connection)
        for index in indexes:
            index.create(connection)
        connection.commit()
        if connection.dialect.name == "postgresql":
            for table, column in (("repositories", "id"), ("revisions", "id")):
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {size})"
                )
            connection.exec_driver_sql("ANALYZE")  # as the server does by itself after a while
            connection.commit()
    catalog.database.close()


def sorted_indexes(table: Table) -> list[Any]:
    return sorted(table.indexes, key=lambda index: str(index.name))


def _hurry(connection: Connection) -> None:
    if connection.dialect.name == "sqlite" and not connection.in_transaction():
        raw = connection.connection.driver_connection
        for pragma in ("synchronous=OFF", "cache_size=-500000", "foreign_keys=OFF"):
            raw.execute(f"PRAGMA {pragma}")


def _manifest(number: int, shared: FileInfo) -> Manifest:
    chance = random.Random(number)
    task = int(chance.random() ** 2 * len(TASKS))
    base = BASES[int(chance.random() ** 2 * len(BASES))]
    words = [WORDS[int(chance.random() ** 3 * len(WORDS))] for _ in range(10)]
    if number % 200_000 == 1000:
        words.append(RARE_WORD)
    metrics = [
        {
            "dataset": dataset(task),
            "split": "test",
            "name": metric,
            "value": round(chance.random(), 6),
            "higher_is_better": metric == "accuracy",
        }
        for metric in ("accuracy", "loss")
    ]
    return Manifest.model_validate(
        {
            "kind": "adapter",
            "method": {"type": chance.choice(METHODS), "parameters": {"bottleneck_size": 48}},
            "base_model": {
                "id": base,
                "architecture": "BertModel",
                "hidden_size": 768,
                "num_layers": 12,
                "fingerprint": hashlib.sha256(base.encode()).hexdigest(),
            },
            "task": TASKS[task],
            "task_type": "text-classification",
            "labels": ("negative", "positive"),
            "language": chance.choice(LANGUAGES),
            "license": chance.choice(LICENSES),
            "tags": (f"tag-{number % 97}", f"kind-{number % 7}"),
            "description": f"A {COMMON_WORD} adapter trained on {' '.join(words)}, {number}.",
            "metrics": metrics,
            "files": {"adapter.safetensors": shared, "adapter_config.json": shared},
        }
    )


def _add_rows(
    rows: dict[str, list[dict[str, Any]]],
    number: int,
    ref: AdapterRef,
    manifest: Manifest,
    digest: str,
) -> None:
    at = _START + timedelta(seconds=number)
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
            "author": "filler",
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
    facts.pop("description")
    rows["listings"].append(
        {
            "repository_id": number,
            "revision_id": number,
            "owner": ref.folded.partition("/")[0],
            "score": best,
            "downloads": 0,
            **facts,
        }
    )


def _log_entry(number: int, ref: AdapterRef, digest: str, previous: str) -> Entry:
    at = (_START + timedelta(seconds=number)).isoformat()
    details = {
        "number": 1,
        "digest": digest,
        "author": "filler",
        "message": "",
        "created_at": at,
    }
    return Entry(
        sequence=number,
        at=at,
        actor=current_user(),
        action="publish",
        name=str(ref),
        details=details,
        previous=previous,
    )


def _add_entry(catalog: Catalog, rows: list[dict[str, Any]], entry: Entry, ref: AdapterRef) -> str:
    content = entry.to_json()
    digest = hashlib.sha256(content).hexdigest()
    details = json.dumps(
        dict(entry.details), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    rows.append(
        {
            "sequence": entry.sequence,
            "at": datetime.fromisoformat(entry.at),
            "actor": entry.actor,
            "action": entry.action,
            "name": entry.name,
            "folded": ref.folded,
            "details": details,
            "previous": entry.previous,
            "hash": digest,
        }
    )
    _write(catalog.log.records.path(entry.sequence), content)
    return digest


def _index_text(connection: Connection, texts: list[tuple[int, AdapterRef, Manifest]]) -> None:
    rows = []
    for number, ref, manifest in texts:
        index, values = text_entry(connection.dialect.name, ref, manifest)
        rows.append({"rowid": number, **values})
    if connection.dialect.name == "sqlite":
        connection.execute(insert(index), rows)
    else:
        for start in range(0, len(rows), 500):
            connection.execute(insert(index).values(rows[start : start + 500]))


def _write(path: Path, content: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    except FileExistsError:
        return
    path.chmod(0o444)


def batches(size: int) -> Iterator[range]:
    for first in range(1, size + 1, _BATCH):
        yield range(first, min(first + _BATCH, size + 1))
