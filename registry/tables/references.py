"""The blobs that rows refer to: manifests and trees, their files, and recent uploads.

The rows are read each time, rather than counted before, so that no count can be wrong.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    CompoundSelect,
    Connection,
    delete,
    func,
    insert,
    null,
    select,
    union,
)

from registry.database.database import Database
from registry.errors import listed
from registry.refs import AdapterRef
from registry.storage.files import MANIFEST_NAME
from registry.tables.models import (
    COMMITS,
    CONDEMNED,
    FILES,
    REPOSITORIES,
    REVISIONS,
    TREE_FILES,
    TREES,
    UPLOADS,
)
from registry.tables.versions import batches

_PAGE = 1000
_LAST = "f" * 64

# The columns of versions and commits that refer to a blob, and those with its size.
_SIZED: tuple[tuple[Column[str], Any], ...] = (
    (REVISIONS.c.manifest_digest, null()),
    (FILES.c.sha256, FILES.c.size),
    (TREES.c.digest, null()),
    (TREE_FILES.c.sha256, TREE_FILES.c.size),
)
_REFERENCES = (*(column for column, _ in _SIZED), UPLOADS.c.sha256)


def referenced(connection: Connection, digests: Collection[str]) -> set[str]:
    """Return the ones of `digests` that rows refer to."""
    found: set[str] = set()
    for batch in batches(sorted(digests)):
        found.update(connection.scalars(_references_in(batch)))
    return found


def referenced_between(connection: Connection, first: str, last: str) -> set[str]:
    """Return all digests that rows refer to, from `first` to `last` inclusive."""
    return set(
        connection.scalars(union(*(select(c).where(c.between(first, last)) for c in _REFERENCES)))
    )


def unnoticed(connection: Connection, digests: Collection[str]) -> list[str]:
    """Return the ones of `digests` that no row refers to and that are not condemned, sorted."""
    known = referenced(connection, digests)
    for batch in batches(sorted(digests)):
        known.update(
            connection.scalars(select(CONDEMNED.c.sha256).where(CONDEMNED.c.sha256.in_(batch)))
        )
    return sorted(set(digests) - known)


def condemn(connection: Connection, digests: Collection[str], at: datetime) -> list[str]:
    """Condemn the ones of these blobs that no row refers to; return the newly condemned."""
    new = unnoticed(connection, digests)
    if new:
        rows = [{"sha256": digest, "condemned_at": at} for digest in new]
        connection.execute(insert(CONDEMNED), rows)
    return new


def condemned_prefixes(connection: Connection, *, before: datetime) -> set[str]:
    """Return the first two digits of the digests of all blobs condemned before a time."""
    prefix = func.substr(CONDEMNED.c.sha256, 1, 2)
    return {*connection.scalars(select(prefix).where(CONDEMNED.c.condemned_at < before).distinct())}


def condemned(
    connection: Connection, first: str, last: str, *, before: datetime, limit: int
) -> list[str]:
    """Return blobs from `first` to `last`, condemned before a time, in the order of digests."""
    return [
        *connection.scalars(
            select(CONDEMNED.c.sha256)
            .where(CONDEMNED.c.condemned_at < before, CONDEMNED.c.sha256.between(first, last))
            .order_by(CONDEMNED.c.sha256)
            .limit(limit)
        )
    ]


def spare(connection: Connection, digests: Collection[str]) -> None:
    """Take blobs off the list of condemned ones: a row will refer to them, or they were removed."""
    for batch in batches(sorted(digests)):
        connection.execute(delete(CONDEMNED).where(CONDEMNED.c.sha256.in_(batch)))


def _references_in(batch: list[str]) -> CompoundSelect[str]:
    return union(*(select(c).where(c.in_(batch)) for c in _REFERENCES))


def expected_blobs(database: Database) -> Iterator[tuple[str, int | None]]:
    """Yield the digests of all blobs that versions and commits refer to, in order, and their sizes.

    The size of a manifest or of a list of files is None: no row has it. Other processes may write
    meanwhile: no transaction lasts longer than a page.
    """
    last = ""
    while True:
        with database.read() as connection:
            page, complete = _page(connection, last)
        yield from sorted(page.items())
        if complete:
            return
        last = max(page)


def _page(connection: Connection, after: str) -> tuple[dict[str, int | None], bool]:
    """Return the next blobs, and whether they are the last."""
    end, complete = _LAST, True
    page: dict[str, int | None] = {}
    for digest, size in _SIZED:
        # Only up to the end of those before: a file that all adapters share has a row for each, and
        # is read once.
        rows = connection.execute(
            select(digest, size)
            .where(digest > after, digest <= end)
            .distinct()
            .order_by(digest)
            .limit(_PAGE)
        ).all()
        if len(rows) == _PAGE:
            end, complete = rows[-1][0], False
        for found, known in rows:
            page[found] = page.get(found) if known is None else known
    return {digest: size for digest, size in page.items() if digest <= end}, complete


def owners_of(connection: Connection, digest: str) -> str:
    """Return which versions, commits and files a blob belongs to, for people."""
    of = select(REPOSITORIES.c.owner, REPOSITORIES.c.name, REVISIONS.c.number).join(
        REVISIONS, REVISIONS.c.repository_id == REPOSITORIES.c.id
    )
    manifests = connection.execute(of.where(REVISIONS.c.manifest_digest == digest)).all()
    files = connection.execute(
        of.add_columns(FILES.c.path)
        .join(FILES, FILES.c.revision_id == REVISIONS.c.id)
        .where(FILES.c.sha256 == digest)
    ).all()
    rows = [(*row, MANIFEST_NAME) for row in manifests] + [tuple(row) for row in files]
    names = [
        f"{AdapterRef(owner, name, version=number)}: {path}" for owner, name, number, path in rows
    ]
    return listed(names or _of_commits(connection, digest), 3)


def _of_commits(connection: Connection, digest: str) -> list[str]:
    of = (
        select(REPOSITORIES.c.owner, REPOSITORIES.c.name, COMMITS.c.oid)
        .join(COMMITS, COMMITS.c.repository_id == REPOSITORIES.c.id)
        .join(TREES, TREES.c.id == COMMITS.c.tree_id)
        .order_by(COMMITS.c.id)
    )
    files = of.add_columns(TREE_FILES.c.path).join(TREE_FILES, TREE_FILES.c.tree_id == TREES.c.id)
    lists = of.where(TREES.c.digest == digest)
    rows = [(*row, "the list of its files") for row in connection.execute(lists)]
    rows += [tuple(row) for row in connection.execute(files.where(TREE_FILES.c.sha256 == digest))]
    return [
        f"{AdapterRef(owner, name)}, commit {oid[:12]}: {path}" for owner, name, oid, path in rows
    ]
