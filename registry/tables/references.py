"""The blobs that rows refer to: manifests and trees, their files, and recent uploads.

The rows are read each time, rather than counted before, so that no count can be wrong.
"""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import CompoundSelect, Connection, delete, func, insert, select, union

from registry.tables.models import CONDEMNED, FILES, REVISIONS, TREE_FILES, TREES, UPLOADS
from registry.tables.versions import batches

_REFERENCES = (
    REVISIONS.c.manifest_digest,
    FILES.c.sha256,
    TREES.c.digest,
    TREE_FILES.c.sha256,
    UPLOADS.c.sha256,
)


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
