"""Whether the rows say what the log tells, and making them say so again.

A manifest says what a version is; its name, number, author, message and date, aliases, yanks and
deletions stand in the log alone, whose entries cannot be altered unseen. So what the rows say of
these is compared with the log, adapter by adapter, and can be written again from it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from registry.catalog.catalog import Catalog
from registry.errors import AlteredRowsError, HubkitError
from registry.log.entry import Entry
from registry.maintenance.findings import Finding
from registry.maintenance.rows import rewrite
from registry.refs import AdapterRef
from registry.tables.edit import delete_adapter
from registry.tables.listings import list_newest
from registry.tables.models import LOG, ORIGINS, REFS, REPOSITORIES, REVISIONS
from registry.tables.origins import set_origin
from registry.tables.record import Publication, record_version

_BATCH = 200
_SHOWN = 5
# What an entry tells of a version and a revision's row repeats, and what people call it.
_FACTS = {
    "number": "number",
    "author": "author",
    "message": "message",
    "created_at": "date",
    "yanked_at": "date of yank",
    "yank_reason": "reason of yank",
}


@dataclass(slots=True)
class Told:
    """What the log tells of an adapter.

    Attributes:
        ref: Its name, as it was first spelled.
        versions: Those that are there, by the digest of their manifest.
        numbers: The number of each of these.
        aliases: The number that each names.
        deleted_at: When it was deleted; None if it was not.
        next_number: The number of the next version.
        dates: When its versions were published, deleted ones too.
    """

    ref: AdapterRef
    versions: dict[str, Publication] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    deleted_at: datetime | None = None
    next_number: int = 1
    dates: set[datetime] = field(default_factory=set)

    def add(self, entry: Entry) -> None:
        """Take in the next entry about the adapter."""
        details: dict[str, Any] = dict(entry.details)
        match entry.action:
            case "publish":
                self._publish(details)
            case "alias":
                self.aliases[details["alias"]] = details["number"]
            case "unalias":
                self.aliases.pop(details["alias"], None)
            case "yank":
                at = datetime.fromisoformat(details["yanked_at"])
                self._yank(details["number"], at, details["reason"])
            case "unyank":
                self._yank(details["number"], None, None)
            case "delete":
                self.deleted_at = datetime.fromisoformat(details["deleted_at"])
                self.versions.clear()
                self.numbers.clear()
                self.aliases.clear()

    def _publish(self, details: dict[str, Any]) -> None:
        digest, version = details["digest"], Publication.told(details)
        self.versions[digest] = version
        self.numbers[digest] = details["number"]
        self.next_number = max(self.next_number, details["number"] + 1)
        self.dates.add(version.created_at)

    def _yank(self, number: int, at: datetime | None, reason: str | None) -> None:
        for digest, version in self.versions.items():
            if version.number == number:
                self.versions[digest] = replace(version, yanked_at=at, yank_reason=reason)
                return


@dataclass(slots=True)
class _Rows:
    """What the rows say of an adapter: that of the repository, its revisions', its aliases'.

    An alias of what is no version of the adapter has the number 0.
    """

    repository: Any = None
    revisions: list[Any] = field(default_factory=list)
    aliases: dict[str, int] = field(default_factory=dict)


def check_told(catalog: Catalog, repair: bool) -> Iterator[Finding]:
    """Yield of which adapters the rows say something else than the log, or nothing."""
    last = ""
    while True:
        with catalog.database.read() as connection:
            names = _names_after(connection, last)
            found = _differing(catalog, connection, names)
        for told, differences in found:
            shown = " ".join(differences[:_SHOWN])
            more = len(differences) - _SHOWN
            text = shown if more <= 0 else f"{shown} And {more} more."
            if not repair:
                yield Finding(text, about=AlteredRowsError)
                continue
            try:
                with catalog.database.write() as connection:
                    rows = _load(connection, [told.ref.folded])[told.ref.folded]
                    _write(catalog, connection, told, rows)
            except HubkitError as error:
                yield Finding(f"{text} It cannot be brought back: {error}")
            else:
                yield Finding(f"{text} It is as the log tells again.", "repaired")
        if len(names) < _BATCH:
            return
        last = names[-1]


def missing_versions(catalog: Catalog) -> Iterator[AdapterRef]:
    """Yield the versions that the log tells of and the rows do not, if their manifests are there.

    Nothing refers to their bytes then, but they are no garbage.
    """
    last = ""
    while True:
        with catalog.database.read() as connection:
            names = _names_after(connection, last)
            rows = _load(connection, names)
            for told in _tell(catalog, connection, names):
                there = {row.manifest_digest for row in rows[told.ref.folded].revisions}
                for digest in told.versions.keys() - there:
                    if catalog.blobs.size(digest) is not None:
                        yield told.ref.at(told.numbers[digest])
        if len(names) < _BATCH:
            return
        last = names[-1]


def _names_after(connection: Connection, last: str) -> Sequence[str]:
    return connection.scalars(
        select(LOG.c.folded)
        .where(LOG.c.folded > last)
        .distinct()
        .order_by(LOG.c.folded)
        .limit(_BATCH)
    ).all()


def _tell(catalog: Catalog, connection: Connection, names: Sequence[str]) -> Iterator[Told]:
    told: dict[str, Told] = {}
    for entry in catalog.log.entries_of(connection, names):
        ref = AdapterRef.parse(entry.name)
        told.setdefault(ref.folded, Told(ref)).add(entry)
    yield from told.values()


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
    for row in connection.execute(select(REFS).where(REFS.c.repository_id.in_(by_id))):
        by_id[row.repository_id].aliases[row.name] = numbers.get(
            (row.repository_id, row.revision_id), 0
        )
    return loaded


def _differing(
    catalog: Catalog, connection: Connection, names: Sequence[str]
) -> list[tuple[Told, list[str]]]:
    rows = _load(connection, names)
    return [
        (told, differences)
        for told in _tell(catalog, connection, names)
        if (differences := [*_compare(told, rows[told.ref.folded])])
    ]


def _compare(told: Told, rows: _Rows) -> Iterator[str]:
    """Yield how the rows of an adapter differ from what the log tells, a sentence each."""
    ref, repository = told.ref, rows.repository
    if repository is None:
        yield f"{ref}: the log tells of it, but its name is not taken any more."
    elif (repository.deleted_at is None) != (told.deleted_at is None):
        is_deleted = "is not" if told.deleted_at else "is"
        yield f"{ref}: the rows say that it {is_deleted} deleted, the log the opposite."
    elif repository.deleted_at != told.deleted_at:
        yield _differs(str(ref), "date of deletion", told.deleted_at, repository.deleted_at)
    else:
        spelled = AdapterRef(repository.owner, repository.name)
        if spelled != ref:
            yield _differs(str(ref), "name", ref, spelled)
        if told.dates and repository.created_at not in told.dates:
            yield _differs(str(ref), "date", min(told.dates), repository.created_at)
        if repository.next_number != (expected := _next_number(told, rows)):
            yield _differs(str(ref), "next number", expected, repository.next_number)
    matched = _match(told, rows)
    for digest, version in told.versions.items():
        row, named = matched.get(digest), str(ref.at(told.numbers[digest]))
        if row is None:
            yield f"{named}: the log tells of it, but there are no rows of it."
            continue
        if row.manifest_digest != digest:
            yield _differs(named, "manifest", digest, row.manifest_digest)
        for column, what in _FACTS.items():
            if (expected := getattr(version, column)) != (found := getattr(row, column)):
                yield _differs(named, what, expected, found)
        if row.origin != version.origin:
            yield _differs(named, "origin", version.origin or "none", row.origin or "none")
    if told.deleted_at is not None and rows.revisions:
        yield f"{ref}: it was deleted, but {len(rows.revisions)} versions of it are there."
    for alias in sorted(told.aliases.keys() | _aliases(told, rows, matched).keys()):
        wanted, found = told.aliases.get(alias), rows.aliases.get(alias)
        if wanted != found:
            named = f"{ref}@{alias}"
            shown = {None: "none", 0: "one of another adapter"}.get(found, found)
            yield _differs(named, "version", wanted or "none", shown)


def _differs(named: str, what: str, expected: object, found: object) -> str:
    return f"{named}: its {what} should be {expected}, as the log tells, but is {found}."


def _match(told: Told, rows: _Rows) -> dict[str, Any]:
    """Return the row of each version: of its digest, else of its number, which may be altered."""
    by_digest = {row.manifest_digest: row for row in rows.revisions}
    by_number = {
        row.number: row for row in rows.revisions if row.manifest_digest not in told.versions
    }
    return {
        digest: row
        for digest, version in told.versions.items()
        if (row := by_digest.get(digest) or by_number.get(version.number)) is not None
    }


def _aliases(told: Told, rows: _Rows, matched: dict[str, Any]) -> dict[str, int]:
    """Return the aliases of rows but those of versions that the log does not tell of at all."""
    of_log = {row.number for row in matched.values()} | {0}
    unlogged = {row.number for row in rows.revisions} - of_log
    return {name: number for name, number in rows.aliases.items() if number not in unlogged}


def _next_number(told: Told, rows: _Rows) -> int:
    matched = {row.id for row in _match(told, rows).values()}
    unlogged = [row.number for row in rows.revisions if row.id not in matched]
    return int(max([told.next_number, *(number + 1 for number in unlogged)]))


def _write(catalog: Catalog, connection: Connection, told: Told, rows: _Rows) -> None:
    """Make the rows of an adapter say what the log tells.

    Raises:
        HubkitError: A manifest cannot be read, or what was deleted is part of something.
    """
    ref = told.ref
    if rows.repository is None:
        new = {
            "owner": ref.owner,
            "name": ref.name,
            "folded": ref.folded,
            "created_at": min(told.dates, default=told.deleted_at),
            "next_number": 1,
        }
        connection.execute(insert(REPOSITORIES), new)
        rows = _load(connection, [ref.folded])[ref.folded]
    repository = rows.repository
    of_repository = REPOSITORIES.c.id == repository.id
    if repository.deleted_at is not None:
        connection.execute(update(REPOSITORIES).where(of_repository).values(deleted_at=None))
    if rows.revisions and told.deleted_at is not None:
        delete_adapter(connection, ref, told.deleted_at)
    else:
        _write_versions(catalog, connection, told, rows)
        _write_aliases(connection, told, rows)
    dates = {*told.dates, repository.created_at}
    connection.execute(
        update(REPOSITORIES)
        .where(of_repository)
        .values(
            owner=ref.owner,
            name=ref.name,
            deleted_at=told.deleted_at,
            next_number=_next_number(told, rows),
            created_at=repository.created_at if dates == told.dates else min(told.dates),
        )
        if told.dates
        else update(REPOSITORIES).where(of_repository).values(deleted_at=told.deleted_at)
    )
    list_newest(connection, repository.id)


def _write_versions(catalog: Catalog, connection: Connection, told: Told, rows: _Rows) -> None:
    matched = _match(told, rows)
    moved = [row.id for digest, row in matched.items() if row.number != told.numbers[digest]]
    # First none of them has a number, as two may have each other's.
    connection.execute(update(REVISIONS).where(REVISIONS.c.id.in_(moved)).values(number=None))
    for digest, number in sorted(told.numbers.items(), key=lambda pair: pair[1]):
        version, row, named = told.versions[digest], matched.get(digest), told.ref.at(number)
        if row is None:
            record_version(connection, told.ref, catalog.store.manifest(named, digest), version)
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
            rewrite(connection, row.id, told.ref, catalog.store.manifest(named, digest))


def _write_aliases(connection: Connection, told: Told, rows: _Rows) -> None:
    doubtful = _aliases(told, rows, _match(told, rows)).keys() | told.aliases.keys()
    of_repository = REFS.c.repository_id == rows.repository.id
    connection.execute(delete(REFS).where(of_repository, REFS.c.name.in_(doubtful)))
    for alias, number in told.aliases.items():
        revision = connection.scalar(
            select(REVISIONS.c.id).where(
                REVISIONS.c.repository_id == rows.repository.id, REVISIONS.c.number == number
            )
        )
        if revision is not None:
            new = {"repository_id": rows.repository.id, "name": alias, "revision_id": revision}
            connection.execute(insert(REFS), new)
