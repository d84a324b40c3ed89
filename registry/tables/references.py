"""Which blobs the catalog refers to: the versions' manifests, and their files.

Asked of the rows each time rather than counted, so that no count can be wrong.
"""

from collections.abc import Collection, Iterator
from datetime import datetime

from sqlalchemy import CompoundSelect, bindparam, delete, func, insert, select, union
from sqlalchemy.orm import Session

from registry.database.prepared import Prepared, Transaction
from registry.tables.models import CondemnedBlob, Revision, RevisionFile, table

_BATCH = 500

_CONDEMNED = table("condemned")
_SPARE = Prepared(delete(_CONDEMNED).where(_CONDEMNED.c.sha256 == bindparam("digest")))


def referenced(session: Session, digests: Collection[str]) -> set[str]:
    """Return those of `digests` that a version refers to."""
    found: set[str] = set()
    for batch in _batches(sorted(digests)):
        found.update(session.scalars(_references_in(batch)))
    return found


def referenced_between(session: Session, first: str, last: str) -> set[str]:
    """Return all digests that a version refers to, from `first` to `last` inclusive."""
    return set(
        session.scalars(
            union(
                select(Revision.manifest_digest).where(
                    Revision.manifest_digest.between(first, last)
                ),
                select(RevisionFile.sha256).where(RevisionFile.sha256.between(first, last)),
            )
        )
    )


def unnoticed(session: Session, digests: Collection[str]) -> list[str]:
    """Return those of `digests` that nothing refers to and that are not condemned yet, sorted."""
    known = referenced(session, digests)
    for batch in _batches(sorted(digests)):
        known.update(
            session.scalars(select(CondemnedBlob.sha256).where(CondemnedBlob.sha256.in_(batch)))
        )
    return sorted(set(digests) - known)


def condemn(session: Session, digests: Collection[str], at: datetime) -> list[str]:
    """Note which of these blobs nothing refers to; return those that were not noted before."""
    new = unnoticed(session, digests)
    if new:
        rows = [{"sha256": digest, "condemned_at": at} for digest in new]
        session.execute(insert(CondemnedBlob), rows)
    return new


def condemned_prefixes(session: Session, *, before: datetime) -> set[str]:
    """Return the first two digits of the digests of all blobs condemned before a time."""
    prefix = func.substr(CondemnedBlob.sha256, 1, 2)
    return {*session.scalars(select(prefix).where(CondemnedBlob.condemned_at < before).distinct())}


def condemned(
    session: Session, first: str, last: str, *, before: datetime, limit: int
) -> list[str]:
    """Return blobs from `first` to `last`, condemned before a time, in the order of digests."""
    return [
        *session.scalars(
            select(CondemnedBlob.sha256)
            .where(CondemnedBlob.condemned_at < before, CondemnedBlob.sha256.between(first, last))
            .order_by(CondemnedBlob.sha256)
            .limit(limit)
        )
    ]


def spare(session: Session, digests: Collection[str]) -> None:
    """Take back that blobs are condemned: a version is about to refer to them, or they are gone."""
    _SPARE.each(Transaction.of(session), ({"digest": digest} for digest in digests))


def _references_in(batch: list[str]) -> CompoundSelect[str]:
    return union(
        select(Revision.manifest_digest).where(Revision.manifest_digest.in_(batch)),
        select(RevisionFile.sha256).where(RevisionFile.sha256.in_(batch)),
    )


def _batches(digests: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(digests), _BATCH):
        yield digests[start : start + _BATCH]
