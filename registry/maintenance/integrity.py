"""What the rows alone tell about the state of a registry."""

import json
from collections.abc import Iterator

from sqlalchemy import exists, func, inspect, or_, select, text, union
from sqlalchemy.orm import Session

from registry.database.database import TEXT_TABLE, VERSION_TABLE, Database
from registry.refs import AdapterRef
from registry.storage.files import MANIFEST_NAME
from registry.tables.listings import NO_SCORE
from registry.tables.models import (
    Base,
    LogEntry,
    LogHead,
    NamedRef,
    Repository,
    Revision,
    RevisionFile,
    table,
)

_SHOWN = 3
_MOST = 10
_PAGE = 1000
_LAST = "f" * 64

_REVISIONS, _METRICS = table("revisions"), table("metrics")
_LISTINGS, _DOWNLOADS = table("listings"), table("downloads")


def table_names() -> set[str]:
    """Return the names of all tables that a registry's database has."""
    return {*Base.metadata.tables, VERSION_TABLE, TEXT_TABLE}


def table_problems(session: Session) -> list[str]:
    """Return which tables, columns and rows are missing without which nothing works."""
    inspector = inspect(session.connection())
    missing = table_names() - set(inspector.get_table_names())
    problems = [f"there is no table {name}" for name in sorted(missing)]
    for wanted in Base.metadata.sorted_tables:
        if wanted.name not in missing:
            found = {column["name"] for column in inspector.get_columns(wanted.name)}
            lacking = sorted({column.name for column in wanted.columns} - found)
            problems += [f"the table {wanted.name} has no column {name}" for name in lacking]
    if not problems and session.scalar(select(func.count()).select_from(LogHead)) != 1:
        problems.append("the log has lost its head, the one row of the table log_head")
    return problems[:_MOST]


def structure_problems(session: Session, *, full: bool = False) -> list[str]:
    """Return what `table_problems` does, and what SQLite says about its file.

    A server looks after its files itself, and refuses rows that refer to nothing.

    Args:
        session: A transaction in the database.
        full: Whether to compare SQLite's indexes with their tables, too, which takes ten times as
            long.
    """
    problems = table_problems(session)
    if session.get_bind().dialect.name == "sqlite":
        check = "integrity_check" if full else "quick_check"
        rows = session.scalars(text(f"PRAGMA {check}({_MOST})")).all()
        problems += [str(row) for row in rows if row != "ok"]
        broken = session.execute(text("PRAGMA foreign_key_check")).all()
        problems += [f"row {row[1]} of {row[0]} refers to nothing in {row[2]}" for row in broken]
    return problems[:_MOST]


def expected_blobs(database: Database) -> Iterator[tuple[str, int | None]]:
    """Yield the digests of all blobs that versions refer to, in order, and their sizes.

    The size of a manifest is not known here, and None. Others may write meanwhile: no transaction
    lasts longer than a page.
    """
    last = ""
    while True:
        with database.read() as session:
            page, complete = _page(session, last)
        yield from sorted(page.items())
        if complete:
            return
        last = max(page)


def _page(session: Session, after: str) -> tuple[dict[str, int | None], bool]:
    """Return the next blobs, and whether they are the last."""
    end = _LAST
    manifests = session.scalars(
        select(Revision.manifest_digest)
        .where(Revision.manifest_digest > after)
        .distinct()
        .order_by(Revision.manifest_digest)
        .limit(_PAGE)
    ).all()
    if more_manifests := len(manifests) == _PAGE:
        end = manifests[-1]
    # Only up to there: a file that all adapters share has a row for each, to be read once.
    files = session.execute(
        select(RevisionFile.sha256, RevisionFile.size)
        .where(RevisionFile.sha256 > after, RevisionFile.sha256 <= end)
        .distinct()
        .order_by(RevisionFile.sha256)
        .limit(_PAGE)
    ).all()
    if more_files := len(files) == _PAGE:
        end = files[-1].sha256
    page: dict[str, int | None] = dict.fromkeys(manifests)
    page.update((digest, size) for digest, size in files)
    complete = not (more_manifests or more_files)
    return {digest: size for digest, size in page.items() if digest <= end}, complete


def label(session: Session, digest: str) -> str:
    """Return which versions and files a blob belongs to, for people."""
    of = select(Repository.owner, Repository.name, Revision.number).join(
        Revision, Revision.repository_id == Repository.id
    )
    manifests = session.execute(of.where(Revision.manifest_digest == digest)).all()
    files = session.execute(
        of.add_columns(RevisionFile.path)
        .join(RevisionFile, RevisionFile.revision_id == Revision.id)
        .where(RevisionFile.sha256 == digest)
    ).all()
    rows = [(*row, MANIFEST_NAME) for row in manifests] + [tuple(row) for row in files]
    names = [
        f"{AdapterRef(owner, name, version=number)}: {path}" for owner, name, number, path in rows
    ]
    shown = ", ".join(names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def stray_aliases(session: Session) -> list[str]:
    """Return the aliases that name a version of another adapter."""
    rows = session.execute(
        select(Repository.owner, Repository.name, NamedRef.name)
        .join(NamedRef, NamedRef.repository_id == Repository.id)
        .join(Revision, Revision.id == NamedRef.revision_id)
        .where(Revision.repository_id != NamedRef.repository_id)
    )
    return [str(AdapterRef(owner, name, alias=alias)) for owner, name, alias in rows]


def stray_listings(session: Session) -> list[int]:
    """Return the repositories whose listing does not say what their newest version does."""
    newer = _REVISIONS.alias()
    newest = (
        select(_REVISIONS)
        .where(
            _REVISIONS.c.number.is_not(None),
            _REVISIONS.c.yanked_at.is_(None),
            ~exists().where(
                newer.c.repository_id == _REVISIONS.c.repository_id,
                newer.c.number > _REVISIONS.c.number,
                newer.c.yanked_at.is_(None),
            ),
        )
        .subquery()
    )
    score = (
        select(_METRICS.c.value)
        .where(_METRICS.c.revision_id == newest.c.id, _METRICS.c.higher_is_better)
        .order_by(_METRICS.c.position)
        .limit(1)
        .scalar_subquery()
    )
    count = (
        select(_DOWNLOADS.c.count)
        .where(_DOWNLOADS.c.repository_id == newest.c.repository_id)
        .scalar_subquery()
    )
    repeated = {*_LISTINGS.c.keys()} & {*newest.c.keys()}
    wrong = (
        select(newest.c.repository_id)
        .join(_LISTINGS, _LISTINGS.c.repository_id == newest.c.repository_id, isouter=True)
        .where(
            or_(
                _LISTINGS.c.revision_id.is_distinct_from(newest.c.id),
                _LISTINGS.c.score != func.coalesce(score, NO_SCORE),
                _LISTINGS.c.downloads != func.coalesce(count, 0),
                *(_LISTINGS.c[name].is_distinct_from(newest.c[name]) for name in sorted(repeated)),
            )
        )
    )
    unfounded = select(_LISTINGS.c.repository_id).where(
        _LISTINGS.c.repository_id.not_in(select(newest.c.repository_id))
    )
    return sorted(session.scalars(union(wrong, unfounded)))


def unlogged_ids(session: Session) -> list[int]:
    """Return the revisions whose publication the log does not tell of, oldest first.

    Those were published before there was a log, or put in by another program.
    """
    told = {
        (folded, json.loads(details).get("digest"))
        for folded, details in session.execute(
            select(LogEntry.folded, LogEntry.details).where(LogEntry.action == "publish")
        )
    }
    rows = session.execute(
        select(Revision.id, Repository.folded, Revision.manifest_digest)
        .join(Repository, Repository.id == Revision.repository_id)
        .where(Revision.number.is_not(None))
        .order_by(Revision.id)
    )
    return [row.id for row in rows if (row.folded, row.manifest_digest) not in told]
