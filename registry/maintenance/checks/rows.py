"""Compare the rows of every version with its manifest, and write them again from it."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, ScalarSelect, Table, delete, func, select, update

from registry.catalog.catalog import Catalog
from registry.errors import AlteredRowsError, CorruptBlobError, ManifestError
from registry.history.from_log.trails import Trails, read_trails
from registry.maintenance.findings import Finding
from registry.manifest import Manifest
from registry.refs import AdapterRef
from registry.store import Store
from registry.tables.listings import list_newest, newest_listings
from registry.tables.models import FILES, LISTINGS, LOG, REPOSITORIES, REVISIONS
from registry.tables.record import PARTS, add_parts, columns, part_rows
from registry.tables.text_index import add_text, indexed_ids, remove_text, text_columns
from registry.tables.versions import AnyRow, Version, load_rows, load_version, select_versions

_BATCH = 200


def check_rows(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield a finding for each version whose rows differ from its manifest."""
    last = 0
    while True:
        with catalog.database.read() as connection:
            batch = load_rows(
                connection,
                select_versions()
                .add_columns(
                    REVISIONS.c.base_name,
                    REVISIONS.c.base_family,
                    REVISIONS.c.base_config,
                    REVISIONS.c.base_tokenizer,
                    REVISIONS.c.problem_type,
                )
                .where(REVISIONS.c.id > last)
                .order_by(REVISIONS.c.id)
                .limit(_BATCH),
            )
            wrong = [*_wrong_versions(catalog, connection, batch)]
        for revision_id, ref, manifest, tables in wrong:
            text = f"{ref}: its manifest says something else than {' and '.join(tables)}."
            if not repair:
                yield Finding(text, about=AlteredRowsError)
                continue
            with catalog.database.write() as connection:
                rewrite(connection, revision_id, ref, manifest)
            yield Finding(f"{text} They are written again, as the manifest says.", "repaired")
        if len(batch) < _BATCH:
            return
        last = batch[-1][0].id


def without_files(catalog: Catalog) -> Iterator[AdapterRef]:
    """Yield the versions with bytes in their manifest that no row of theirs refers to."""
    last = 0
    while True:
        with catalog.database.read() as connection:
            batch = load_rows(
                connection,
                select_versions()
                .where(REVISIONS.c.id > last)
                .order_by(REVISIONS.c.id)
                .limit(_BATCH),
            )
            ids = [row.id for row, _ in batch]
            referred = select(FILES.c.revision_id, FILES.c.sha256).where(
                FILES.c.revision_id.in_(ids)
            )
            known = {(row.revision_id, row.sha256) for row in connection.execute(referred)}
        for row, version in batch:
            manifest = _sound_manifest(catalog.store, version)
            named = set() if manifest is None else {one.sha256 for one in manifest.files.values()}
            if any((row.id, digest) not in known for digest in named):
                yield version.ref
        if len(batch) < _BATCH:
            return
        last = batch[-1][0].id


def check_listings(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield a finding if listings differ from the newest versions."""
    last, wrong = 0, list[int]()
    while True:
        with catalog.database.read() as connection:
            ids = connection.scalars(
                select(REPOSITORIES.c.id)
                .where(REPOSITORIES.c.id > last)
                .order_by(REPOSITORIES.c.id)
                .limit(_BATCH)
            ).all()
            expected = newest_listings(connection, ids)
            rows = connection.execute(select(LISTINGS).where(LISTINGS.c.repository_id.in_(ids)))
            found = {row.repository_id: dict(row._mapping) for row in rows}
        wrong += [key for key in ids if found.get(key) != expected.get(key)]
        if len(ids) < _BATCH:
            break
        last = ids[-1]
    if not wrong:
        return
    text = f"The listings of {len(wrong)} adapters are missing or differ from the newest version."
    if not repair:
        yield Finding(text, about=AlteredRowsError)
        return
    for start in range(0, len(wrong), _BATCH):
        with catalog.database.write() as connection:
            for repository_id in wrong[start : start + _BATCH]:
                list_newest(connection, repository_id)
    yield Finding(f"{text} They are written again.", "repaired")


def check_parents(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield a finding if revisions do not name the one before them in their repository."""
    with catalog.database.read() as connection:
        is_stray = REVISIONS.c.parent_id.is_distinct_from(_before())
        wrong = sorted(connection.scalars(select(REVISIONS.c.id).where(is_stray)))
    if not wrong:
        return
    text = f"{len(wrong)} versions name another version than the one before them."
    if not repair:
        yield Finding(text, about=AlteredRowsError)
        return
    for start in range(0, len(wrong), _BATCH):
        with catalog.database.write() as connection:
            connection.execute(
                update(REVISIONS)
                .where(REVISIONS.c.id.in_(wrong[start : start + _BATCH]))
                .values(parent_id=_before())
            )
    yield Finding(f"{text} They name that one again.", "repaired")


def _wrong_versions(
    catalog: Catalog, connection: Connection, versions: list[tuple[AnyRow, Version]]
) -> Iterator[tuple[int, AdapterRef, Manifest, list[str]]]:
    """Yield the versions that differ from their manifest in some table."""
    ids = [row.id for row, _ in versions]
    found: dict[Table, dict[int, Counter[tuple[Any, ...]]]] = {
        table: defaultdict(Counter) for table in PARTS
    }
    for table, revision in PARTS.items():
        for part in connection.execute(select(table).where(revision.in_(ids))):
            found[table][part._mapping[revision]][tuple(part)] += 1
    manifests = {
        row.id: manifest
        for row, version in versions
        if (manifest := _sound_manifest(catalog.store, version))
    }
    texts = {
        row.id: text_columns(version.ref, manifests[row.id])
        for row, version in versions
        if row.id in manifests
    }
    indexed = indexed_ids(connection, texts)
    for row, version in versions:
        if row.id not in manifests:
            continue
        manifest = manifests[row.id]
        wanted = columns(manifest)
        same = {
            "the table revisions": {name: row._mapping[name] for name in wanted} == wanted,
            **{
                f"the table {table.name}": found[table][row.id]
                == Counter(tuple(part[column.name] for column in table.c) for part in listed)
                for table, listed in part_rows(row.id, manifest).items()
            },
            "the search index": row.id in indexed,
        }
        tables = [name for name, is_same in same.items() if not is_same]
        if tables:
            yield row.id, version.ref, manifest, tables


def _sound_manifest(store: Store, version: Version) -> Manifest | None:
    try:
        return store.manifest(version.ref, version.manifest_digest)
    except (CorruptBlobError, ManifestError):
        return None  # the check of the blobs reports it; or only a newer hubkit reads its schema


def rewrite(connection: Connection, revision_id: int, ref: AdapterRef, manifest: Manifest) -> None:
    """Write again all rows of a version that repeat its manifest."""
    connection.execute(
        update(REVISIONS).where(REVISIONS.c.id == revision_id).values(**columns(manifest))
    )
    for table, revision in PARTS.items():
        connection.execute(delete(table).where(revision == revision_id))
    add_parts(connection, revision_id, manifest)
    remove_text(connection, select(REVISIONS.c.id).where(REVISIONS.c.id == revision_id))
    add_text(connection, revision_id, ref, manifest)
    list_newest(
        connection,
        connection.execute(
            select(REVISIONS.c.repository_id).where(REVISIONS.c.id == revision_id)
        ).scalar_one(),
    )


def check_publications(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield a finding if the log lacks the publication of some versions."""
    trails = read_trails(catalog.store)
    with catalog.database.read() as connection:
        unlogged = _unlogged_ids(connection, trails)
    if not unlogged:
        return
    if not repair:
        yield Finding(
            f"The log lacks the publication of {len(unlogged)} versions, which are older than the "
            "log: a rebuild from the records would lose them. Nothing is lost now.",
            "note",
            about=AlteredRowsError,
        )
        return
    with catalog.database.write() as connection:
        for revision_id in unlogged:
            version = load_version(connection, revision_id)
            catalog.log.append_publication(connection, version)
            for alias in version.aliases:
                catalog.log.append(
                    connection, "alias", version.ref, alias=alias, number=version.number
                )
    yield Finding(f"{len(unlogged)} publications are added to the log.", "repaired")


def _before() -> ScalarSelect[int]:
    """The revision before one of `REVISIONS` in the same repository; NULL before the first."""
    earlier = REVISIONS.alias()
    return (
        select(func.max(earlier.c.id))
        .where(earlier.c.repository_id == REVISIONS.c.repository_id, earlier.c.id < REVISIONS.c.id)
        .scalar_subquery()
    )


def _unlogged_ids(connection: Connection, trails: Trails) -> list[int]:
    """Return the revisions whose publication is not in the log, oldest first.

    They were published before the log existed, or inserted by another program.

    Args:
        connection: A transaction.
        trails: The names of their repositories.
    """
    logged = {
        (trails.now(folded), _digest(details))
        for folded, details in connection.execute(
            select(LOG.c.folded, LOG.c.details).where(LOG.c.action == "publish")
        )
    }
    rows = connection.execute(
        select(REVISIONS.c.id, REPOSITORIES.c.folded, REVISIONS.c.manifest_digest)
        .join(REPOSITORIES, REPOSITORIES.c.id == REVISIONS.c.repository_id)
        .where(REVISIONS.c.number.is_not(None))
        .order_by(REVISIONS.c.id)
    )
    return [row.id for row in rows if (row.folded, row.manifest_digest) not in logged]


def _digest(details: str) -> str | None:
    try:
        found = json.loads(details).get("digest")
    except (ValueError, AttributeError):  # which the check of the log reports
        return None
    return found if isinstance(found, str) else None
