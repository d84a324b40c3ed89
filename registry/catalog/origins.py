"""Where a version was pulled from, so that bytes that were lost or damaged can be fetched again.

An origin is written as a location: a folder, or a URL. What opens each kind of location is in
`registry.catalog.origin_kinds`. Locations come from pulls of this registry only, never from a
manifest or a bundle.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from registry.refs import AdapterRef
from registry.storage.blobs import BlobStore
from registry.tables.models import Origin as OriginRow
from registry.tables.models import Repository, Revision, RevisionFile
from registry.tables.versions import Version, load_versions, select_versions

if TYPE_CHECKING:
    from registry.catalog.catalog import Catalog

from registry.catalog.origin_kinds import add_origin_kind

add_origin_kind("", lambda location: BlobStore(Path(location)))


def find_origins(session: Session, digest: str) -> list[str]:
    """Return where versions with this blob were pulled from, the first pulled first."""
    with_file = select(RevisionFile.revision_id).where(RevisionFile.sha256 == digest)
    rows = session.scalars(
        select(OriginRow.location)
        .join(Revision, Revision.id == OriginRow.revision_id)
        .where(or_(Revision.manifest_digest == digest, Revision.id.in_(with_file)))
        .order_by(OriginRow.revision_id)
    )
    return [*dict.fromkeys(rows)]


def find_pulled(catalog: "Catalog", ref: AdapterRef, location: str) -> Version | None:
    """Return the version of an adapter that was pulled from a location.

    Args:
        catalog: The registry.
        ref: The adapter's name.
        location: What the pull noted: a folder, or a URL with a revision.

    Returns:
        The newest of several; None if none was, or there is no adapter of that name.
    """
    from_there = select(OriginRow.revision_id).where(OriginRow.location == location)
    statement = (
        select_versions()
        .where(Repository.folded == ref.folded, Revision.id.in_(from_there))
        .order_by(Revision.number.desc())
        .limit(1)
    )
    with catalog.database.read() as session:
        return next((version for _, version in load_versions(session, statement)), None)


def pulled_from(catalog: "Catalog", version: Version) -> list[str]:
    """Return the folders and URLs that a version was pulled from, the first one first."""
    with catalog.database.read() as session:
        return find_origins(session, version.manifest_digest)
