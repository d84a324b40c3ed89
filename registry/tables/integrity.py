"""What the rows alone tell about the state of a registry."""

import json
from collections.abc import Iterator

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from registry.refs import AdapterRef
from registry.storage.files import MANIFEST_NAME
from registry.tables.database import Database
from registry.tables.models import LogEntry, NamedRef, Repository, Revision, RevisionFile

_SHOWN = 3
_PAGE = 1000


def structure_problems(session: Session) -> list[str]:
    """Return what SQLite says about its file; of another database, which checks itself, nothing."""
    if session.get_bind().dialect.name != "sqlite":
        return []
    rows = session.scalars(text("PRAGMA quick_check(10)")).all()
    problems = [str(row) for row in rows if row != "ok"]
    broken = session.execute(text("PRAGMA foreign_key_check")).all()
    problems += [f"row {row[1]} of {row[0]} refers to nothing in {row[2]}" for row in broken[:10]]
    return problems


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
    manifests = session.scalars(
        select(Revision.manifest_digest)
        .where(Revision.manifest_digest > after)
        .distinct()
        .order_by(Revision.manifest_digest)
        .limit(_PAGE)
    ).all()
    files = session.execute(
        select(RevisionFile.sha256, RevisionFile.size)
        .where(RevisionFile.sha256 > after)
        .distinct()
        .order_by(RevisionFile.sha256)
        .limit(_PAGE)
    ).all()
    page: dict[str, int | None] = dict.fromkeys(manifests)
    for digest, size in files:
        page[digest] = size
    # Beyond the end of a full list there may be more of its kind.
    ends = [rows[-1] for rows in (manifests, [row[0] for row in files]) if len(rows) == _PAGE]
    if not ends:
        return page, True
    return {digest: size for digest, size in page.items() if digest <= min(ends)}, False


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
