"""The origins of pulled versions, from which lost or damaged bytes can be fetched again.

An origin is a location: a folder, or a URL. Locations come from pulls of this registry only, never
from a manifest or a bundle. `registry.catalog.origins` opens them.
"""

from sqlalchemy import Connection, delete, insert, or_, select

from registry.fields import check_text
from registry.refs import AdapterRef
from registry.tables.models import FILES, ORIGINS, REPOSITORIES, REVISIONS
from registry.tables.versions import Version, load_versions, select_versions


def find_origins(connection: Connection, digest: str) -> list[str]:
    """Return the origins of versions with this blob, the first pulled first."""
    with_file = select(FILES.c.revision_id).where(FILES.c.sha256 == digest)
    rows = connection.scalars(
        select(ORIGINS.c.location)
        .join(REVISIONS, REVISIONS.c.id == ORIGINS.c.revision_id)
        .where(or_(REVISIONS.c.manifest_digest == digest, REVISIONS.c.id.in_(with_file)))
        .order_by(ORIGINS.c.revision_id)
    )
    return [*dict.fromkeys(rows)]


def find_pulled(connection: Connection, ref: AdapterRef, location: str) -> Version | None:
    """Return the version of an adapter that was pulled from a location.

    Args:
        connection: A transaction.
        ref: The adapter's name.
        location: The origin that the pull recorded: a folder, or a URL with a revision.

    Returns:
        The newest of several; None if none was, or there is no adapter of that name.
    """
    check_text("origin", location)
    from_there = select(ORIGINS.c.revision_id).where(ORIGINS.c.location == location)
    statement = (
        select_versions()
        .where(REPOSITORIES.c.folded == ref.folded, REVISIONS.c.id.in_(from_there))
        .order_by(REVISIONS.c.number.desc())
        .limit(1)
    )
    return next(iter(load_versions(connection, statement)), None)


def set_origin(connection: Connection, revision_id: int, location: str | None) -> None:
    """Record the origin of a revision, in place of an earlier one.

    Args:
        connection: A transaction that writes.
        revision_id: The revision's row.
        location: A folder or a URL; None if it was published here.
    """
    connection.execute(delete(ORIGINS).where(ORIGINS.c.revision_id == revision_id))
    if location is not None:
        connection.execute(insert(ORIGINS), {"revision_id": revision_id, "location": location})
