"""Where versions were pulled from, so that lost or damaged bytes can be fetched again.

An origin is a location: a folder, or a URL. Locations come from pulls of this registry only, never
from a manifest or a bundle. `registry.catalog.origins` opens them.
"""

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from registry.refs import AdapterRef
from registry.tables.models import Origin, Repository, Revision, RevisionFile
from registry.tables.versions import Version, load_versions, select_versions


def find_origins(session: Session, digest: str) -> list[str]:
    """Return where versions with this blob were pulled from, the first pulled first."""
    with_file = select(RevisionFile.revision_id).where(RevisionFile.sha256 == digest)
    rows = session.scalars(
        select(Origin.location)
        .join(Revision, Revision.id == Origin.revision_id)
        .where(or_(Revision.manifest_digest == digest, Revision.id.in_(with_file)))
        .order_by(Origin.revision_id)
    )
    return [*dict.fromkeys(rows)]


def find_pulled(session: Session, ref: AdapterRef, location: str) -> Version | None:
    """Return the version of an adapter that was pulled from a location.

    Args:
        session: A transaction.
        ref: The adapter's name.
        location: What the pull noted: a folder, or a URL with a revision.

    Returns:
        The newest of several; None if none was, or there is no adapter of that name.
    """
    from_there = select(Origin.revision_id).where(Origin.location == location)
    statement = (
        select_versions()
        .where(Repository.folded == ref.folded, Revision.id.in_(from_there))
        .order_by(Revision.number.desc())
        .limit(1)
    )
    return next((version for _, version in load_versions(session, statement)), None)
