"""Compare the rows with the log, adapter by adapter, and write them again from it.

A manifest describes a version. Its name, number, author, message and date, aliases, yanks and
deletions are only in the log, and an alteration of the log is noticed.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from registry.catalog.catalog import Catalog
from registry.errors import AlteredRowsError, HubkitError
from registry.history.commits import tagged_number
from registry.history.from_log.trails import entries_about, name_pages, read_trails, understood
from registry.log.entry import Entry
from registry.maintenance.checks.rows import rewrite
from registry.maintenance.findings import Finding
from registry.places import parse_place
from registry.refs import AdapterRef
from registry.tables.edit import delete_adapter
from registry.tables.listings import list_newest
from registry.tables.measurements import (
    Measurement,
    measured,
    measurement_rows,
    rewrite_measurements,
)
from registry.tables.models import MEASUREMENTS, ORIGINS, REFS, REPOSITORIES, REVISIONS
from registry.tables.origins import set_origin
from registry.tables.record import Publication, record_version

_SHOWN = 5
# Columns of a revision that an entry of the log has, too, and their names in messages.
_FACTS = {
    "number": "number",
    "author": "author",
    "message": "message",
    "created_at": "date",
    "yanked_at": "date of yank",
    "yank_reason": "reason of yank",
}


@dataclass(slots=True)
class Logged:
    """What the log says of an adapter.

    Attributes:
        ref: Its name, as it was first spelled.
        versions: Its versions that were not deleted, by the digest of their manifest.
        numbers: The number of each of these versions.
        measurements: The measurements of each of its versions, by number.
        aliases: The number of each alias.
        deleted_at: When it was deleted; None if it was not.
        next_number: The number of the next version.
        dates: When its versions were published, deleted ones too.
        created_at: When it was made on a hub; None if it never was.
    """

    ref: AdapterRef
    versions: dict[str, Publication] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    measurements: dict[int, list[Measurement]] = field(default_factory=lambda: defaultdict(list))
    aliases: dict[str, int] = field(default_factory=dict)
    deleted_at: datetime | None = None
    next_number: int = 1
    dates: set[datetime] = field(default_factory=set)
    created_at: datetime | None = None

    def add(self, entry: Entry) -> None:
        """Apply the next entry about the adapter."""
        details: dict[str, Any] = dict(entry.details)
        match entry.action:
            case "publish":
                self._publish(details)
            case "create":
                self.created_at = datetime.fromisoformat(details["created_at"])
                self.deleted_at = None
            case "move":
                _, self.ref = parse_place(details["to"])
            case "tag" if (number := tagged_number(details["tag"])) is not None:
                self.next_number = max(self.next_number, number + 1)
            case "alias":
                self.aliases[details["alias"]] = details["number"]
            case "unalias":
                self.aliases.pop(details["alias"], None)
            case "yank":
                at = datetime.fromisoformat(details["yanked_at"])
                self._yank(details["number"], at, details["reason"])
            case "unyank":
                self._yank(details["number"], None, None)
            case "measure":
                self.measurements[details["number"]] += measured(details)
            case "delete":
                self.deleted_at = datetime.fromisoformat(details["deleted_at"])
                self.versions.clear()
                self.numbers.clear()
                self.measurements.clear()
                self.aliases.clear()

    def date(self, found: datetime | None) -> datetime | None:
        """Return when it was made; `found` if that is possible, since a version may be older."""
        if self.created_at is not None:
            return self.created_at
        if not self.dates:
            return found or self.deleted_at
        return found if found in self.dates else min(self.dates)

    def _publish(self, details: dict[str, Any]) -> None:
        digest, version = details["digest"], Publication.from_log(details)
        self.versions[digest] = version
        self.numbers[digest] = details["number"]
        self.next_number = max(self.next_number, details["number"] + 1)
        self.dates.add(version.created_at)
        if self.ref.is_nameless:  # removed, and needed again
            self.deleted_at = None

    def _yank(self, number: int, at: datetime | None, reason: str | None) -> None:
        for digest, version in self.versions.items():
            if version.number == number:
                self.versions[digest] = replace(version, yanked_at=at, yank_reason=reason)
                return


@dataclass(slots=True)
class _Rows:
    """What the rows say of an adapter.

    Attributes:
        repository: Its own row; None if there is none.
        revisions: The rows of its versions.
        measurements: The rows of its measurements, by the revision's id.
        aliases: The number of each alias; 0 if it is not one of the adapter's versions.
    """

    repository: Any = None
    revisions: list[Any] = field(default_factory=list)
    measurements: dict[int, list[Any]] = field(default_factory=lambda: defaultdict(list))
    aliases: dict[str, int] = field(default_factory=dict)


def check_adapters(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield a finding for each adapter whose rows differ from the log.

    Args:
        catalog: The registry.
        repair: Whether to write such rows again.
    """
    for pairs in _pages(catalog):
        for logged, rows in pairs:
            differences = [*_compare(logged, rows)]
            if not differences:
                continue
            shown = " ".join(differences[:_SHOWN])
            more = len(differences) - _SHOWN
            text = shown if more <= 0 else f"{shown} And {more} more."
            if not repair:
                yield Finding(text, about=AlteredRowsError)
                continue
            try:
                with catalog.database.write() as connection:
                    newest = _load(connection, [logged.ref.folded])[logged.ref.folded]
                    _write(catalog, connection, logged, newest)
            except HubkitError as error:
                yield Finding(f"{text} It cannot be brought back: {error}")
            else:
                yield Finding(f"{text} It is as the log says again.", "repaired")


def missing_versions(catalog: Catalog) -> Iterator[AdapterRef]:
    """Yield the versions in the log without rows, if their manifests are stored.

    No row refers to their bytes, but they are not garbage. Nothing is changed.
    """
    for pairs in _pages(catalog):
        for logged, rows in pairs:
            there = {row.manifest_digest for row in rows.revisions}
            for digest in logged.versions.keys() - there:
                if catalog.blobs.size(digest) is not None:
                    yield logged.ref.at(logged.numbers[digest])


def _pages(catalog: Catalog) -> Iterator[list[tuple[Logged, _Rows]]]:
    """Yield each adapter in the log and in the rows, in batches.

    No connection is held while the caller works on a batch, so that it may write.
    """
    trails = read_trails(catalog.store)
    for names in name_pages(catalog.store, trails):
        with catalog.database.read() as connection:
            logged: dict[str, Logged] = {}
            for entry, name in entries_about(catalog.store, connection, names, trails):
                with understood(entry):
                    ref = AdapterRef.parse(entry.name)
                    logged.setdefault(name, Logged(ref)).add(entry)
            rows = _load(connection, [one.ref.folded for one in logged.values()])
        yield [(one, rows[one.ref.folded]) for one in logged.values()]


def _load(connection: Connection, names: Iterable[str]) -> dict[str, _Rows]:
    loaded: dict[str, _Rows] = defaultdict(_Rows)
    by_id = {}
    for row in connection.execute(select(REPOSITORIES).where(REPOSITORIES.c.folded.in_(names))):
        loaded[row.folded].repository = row
        by_id[row.id] = loaded[row.folded]
    numbers = {}
    revisions = (
        select(REVISIONS, ORIGINS.c.location.label("origin"))
        .outerjoin(ORIGINS, ORIGINS.c.revision_id == REVISIONS.c.id)
        .where(REVISIONS.c.repository_id.in_(by_id), REVISIONS.c.number.is_not(None))
    )
    for row in connection.execute(revisions.order_by(REVISIONS.c.id)):
        by_id[row.repository_id].revisions.append(row)
        numbers[row.repository_id, row.id] = row.number
    recorded = (
        select(MEASUREMENTS, REVISIONS.c.repository_id)
        .join(REVISIONS, REVISIONS.c.id == MEASUREMENTS.c.revision_id)
        .where(REVISIONS.c.repository_id.in_(by_id))
        .order_by(MEASUREMENTS.c.position)
    )
    for row in connection.execute(recorded):
        values = {column.name: row._mapping[column] for column in MEASUREMENTS.columns}
        by_id[row.repository_id].measurements[row.revision_id].append(values)
    for row in connection.execute(select(REFS).where(REFS.c.repository_id.in_(by_id))):
        by_id[row.repository_id].aliases[row.name] = numbers.get(
            (row.repository_id, row.revision_id), 0
        )
    return loaded


def _compare(logged: Logged, rows: _Rows) -> Iterator[str]:
    """Yield a sentence for each difference between the rows of an adapter and the log."""
    ref, matched = logged.ref, _match(logged, rows)
    yield from _compare_repository(logged, rows, matched)
    yield from _compare_versions(logged, matched)
    for row in rows.revisions:
        of_log = logged.measurements.get(row.number, [])
        if rows.measurements.get(row.id, []) != measurement_rows(row.id, of_log):
            yield f"{ref.at(row.number)}: its measurements differ from those in the log."
    if logged.deleted_at is not None and rows.revisions:
        yield f"{ref}: it was deleted, but {len(rows.revisions)} versions of it are there."
    for alias in sorted(logged.aliases.keys() | _aliases(rows, matched).keys()):
        wanted, found = logged.aliases.get(alias), rows.aliases.get(alias)
        if wanted != found:
            named = f"{ref}@{alias}"
            shown = {None: "none", 0: "one of another adapter"}.get(found, found)
            yield _differs(named, "version", wanted or "none", shown)


def _compare_repository(logged: Logged, rows: _Rows, matched: dict[str, Any]) -> Iterator[str]:
    ref, repository = logged.ref, rows.repository
    if repository is None:
        yield f"{ref}: the log has it, but it has no row."
    elif (repository.deleted_at is None) != (logged.deleted_at is None):
        is_deleted = "is not" if logged.deleted_at else "is"
        yield f"{ref}: the rows say that it {is_deleted} deleted, the log the opposite."
    elif repository.deleted_at != logged.deleted_at:
        yield _differs(str(ref), "date of deletion", logged.deleted_at, repository.deleted_at)
    else:
        spelled = AdapterRef(repository.owner, repository.name)
        if spelled != ref:
            yield _differs(str(ref), "name", ref, spelled)
        if (date := logged.date(repository.created_at)) != repository.created_at:
            yield _differs(str(ref), "date", date, repository.created_at)
        if repository.next_number != (expected := _next_number(logged, rows, matched)):
            yield _differs(str(ref), "next number", expected, repository.next_number)


def _compare_versions(logged: Logged, matched: dict[str, Any]) -> Iterator[str]:
    for digest, version in logged.versions.items():
        row, named = matched.get(digest), str(logged.ref.at(logged.numbers[digest]))
        if row is None:
            yield f"{named}: the log has it, but it has no rows."
            continue
        if row.manifest_digest != digest:
            yield _differs(named, "manifest", digest, row.manifest_digest)
        for column, what in _FACTS.items():
            if (expected := getattr(version, column)) != (found := getattr(row, column)):
                yield _differs(named, what, expected, found)
        if row.origin != version.origin:
            yield _differs(named, "origin", version.origin or "none", row.origin or "none")


def _differs(named: str, what: str, expected: object, found: object) -> str:
    return f"{named}: its {what} should be {expected}, as the log says, but is {found}."


def _match(logged: Logged, rows: _Rows) -> dict[str, Any]:
    """Return the row of each version by its digest: the row with that digest, else its number."""
    by_digest = {row.manifest_digest: row for row in rows.revisions}
    by_number = {
        row.number: row for row in rows.revisions if row.manifest_digest not in logged.versions
    }
    return {
        digest: row
        for digest, version in logged.versions.items()
        if (row := by_digest.get(digest) or by_number.get(version.number)) is not None
    }


def _aliases(rows: _Rows, matched: dict[str, Any]) -> dict[str, int]:
    """Return the aliases of the rows, without those of versions that the log does not have."""
    of_log = {row.number for row in matched.values()} | {0}
    unlogged = {row.number for row in rows.revisions} - of_log
    return {name: number for name, number in rows.aliases.items() if number not in unlogged}


def _next_number(logged: Logged, rows: _Rows, matched: dict[str, Any]) -> int:
    """Return the number of the next version: numbers of versions that the log lacks are taken."""
    of_log = {row.id for row in matched.values()}
    unlogged = [row.number for row in rows.revisions if row.id not in of_log]
    return int(max([logged.next_number, *(number + 1 for number in unlogged)]))


def _write(catalog: Catalog, connection: Connection, logged: Logged, rows: _Rows) -> None:
    """Write the rows of an adapter as the log has them.

    Raises:
        HubkitError: A manifest cannot be read, or a deleted version is a parent of others.
    """
    ref = logged.ref
    if rows.repository is None:
        new = {
            "owner": ref.owner,
            "name": ref.name,
            "folded": ref.folded,
            "created_at": logged.date(None),
            "next_number": 1,
        }
        connection.execute(insert(REPOSITORIES), new)
        rows = _load(connection, [ref.folded])[ref.folded]
    repository, matched = rows.repository, _match(logged, rows)
    of_repository = REPOSITORIES.c.id == repository.id
    if repository.deleted_at is not None:
        connection.execute(update(REPOSITORIES).where(of_repository).values(deleted_at=None))
    if rows.revisions and logged.deleted_at is not None:
        delete_adapter(connection, ref, logged.deleted_at)
    else:
        _write_versions(catalog, connection, logged, matched)
        _write_measurements(connection, logged, repository.id)
        _write_aliases(connection, logged, rows, matched)
    facts: dict[str, Any] = {"deleted_at": logged.deleted_at}
    if logged.dates or logged.created_at is not None:
        facts |= {
            "owner": ref.owner,
            "name": ref.name,
            "next_number": _next_number(logged, rows, matched),
            "created_at": logged.date(repository.created_at),
        }
    connection.execute(update(REPOSITORIES).where(of_repository).values(facts))
    list_newest(connection, repository.id)


def _write_versions(
    catalog: Catalog, connection: Connection, logged: Logged, matched: dict[str, Any]
) -> None:
    moved = [row.id for digest, row in matched.items() if row.number != logged.numbers[digest]]
    # First all numbers are removed: two versions may have each other's.
    connection.execute(update(REVISIONS).where(REVISIONS.c.id.in_(moved)).values(number=None))
    for digest, number in sorted(logged.numbers.items(), key=lambda pair: pair[1]):
        version, row, named = logged.versions[digest], matched.get(digest), logged.ref.at(number)
        if row is None:
            record_version(connection, logged.ref, catalog.store.manifest(named, digest), version)
            continue
        facts = {column: getattr(version, column) for column in _FACTS}
        connection.execute(
            update(REVISIONS)
            .where(REVISIONS.c.id == row.id)
            .values(manifest_digest=digest, **facts)
        )
        if row.origin != version.origin:
            set_origin(connection, row.id, version.origin)
        if row.manifest_digest != digest:
            rewrite(connection, row.id, logged.ref, catalog.store.manifest(named, digest))


def _write_measurements(connection: Connection, logged: Logged, repository_id: int) -> None:
    numbered = select(REVISIONS.c.id, REVISIONS.c.number).where(
        REVISIONS.c.repository_id == repository_id, REVISIONS.c.number.is_not(None)
    )
    for row in connection.execute(numbered).all():
        rewrite_measurements(connection, row.id, logged.measurements.get(row.number, []))


def _write_aliases(
    connection: Connection, logged: Logged, rows: _Rows, matched: dict[str, Any]
) -> None:
    doubtful = _aliases(rows, matched).keys() | logged.aliases.keys()
    of_repository = REFS.c.repository_id == rows.repository.id
    connection.execute(delete(REFS).where(of_repository, REFS.c.name.in_(doubtful)))
    for alias, number in logged.aliases.items():
        revision = connection.scalar(
            select(REVISIONS.c.id).where(
                REVISIONS.c.repository_id == rows.repository.id, REVISIONS.c.number == number
            )
        )
        if revision is not None:
            new = {"repository_id": rows.repository.id, "name": alias, "revision_id": revision}
            connection.execute(insert(REFS), new)
