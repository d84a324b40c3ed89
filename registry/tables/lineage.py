"""What a version is made of, and what is made of it."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.tables.models import Revision, RevisionParent
from registry.tables.versions import Version, load_digests, load_versions, select_versions


@dataclass(frozen=True, slots=True)
class ParentLink:
    """One adapter a version is made of.

    Attributes:
        ref: What it was called when the version was made.
        digest: Its manifest's digest.
        version: The version here with that digest; None if there is none.
    """

    ref: str
    digest: str
    version: Version | None


@dataclass(frozen=True, slots=True)
class Lineage:
    """The neighbours of a version.

    Attributes:
        parents: What it is made of, in the manifest's order.
        children: What is made of it, oldest first.
    """

    parents: tuple[ParentLink, ...]
    children: tuple[Version, ...]


def find_lineage(session: Session, manifest_digest: str) -> Lineage:
    """Return the lineage of all versions with this manifest, which is the same for each."""
    child = (
        select(func.min(Revision.id))
        .where(Revision.manifest_digest == manifest_digest)
        .scalar_subquery()
    )
    pinned = session.execute(
        select(RevisionParent.ref, RevisionParent.digest)
        .where(RevisionParent.child_id == child)
        .order_by(RevisionParent.position)
    ).all()
    here = load_digests(session, [digest for _, digest in pinned])
    users = select(RevisionParent.child_id).where(RevisionParent.digest == manifest_digest)
    children = load_versions(
        session, select_versions().where(Revision.id.in_(users)).order_by(Revision.id)
    )
    return Lineage(
        parents=tuple(ParentLink(ref, digest, here.get(digest)) for ref, digest in pinned),
        children=tuple(version for _, version in children),
    )
