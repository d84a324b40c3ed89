"""Where a version was pulled from, so that bytes that were lost or damaged can be fetched again.

An origin is written as a location: a folder, or a URL. What opens each kind of location is in
`registry.catalog.origins`. Locations come from pulls of this registry only, never from a manifest or a
bundle.
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

from collections.abc import Callable
from typing import BinaryIO, Protocol

from registry.errors import StorageError

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


class Origin(Protocol):
    """What can give back the bytes of a blob."""

    def open(self, digest: str, *, label: str) -> BinaryIO:
        """Open a blob for reading; whoever reads it checks the digest.

        Raises:
            CorruptBlobError: It is not there.
            HubkitError: It cannot be read.
        """
        ...


_KINDS: dict[str, Callable[[str], Origin]] = {}


def add_origin_kind(scheme: str, open: Callable[[str], Origin]) -> None:
    """Say how to open locations of a kind.

    Args:
        scheme: That of its URLs; empty for folders.
        open: Called with a location; it need not exist.
    """
    _KINDS[scheme] = open


def open_origin(location: str) -> Origin:
    """Return what is at a location.

    Raises:
        StorageError: It is of a kind that nobody added.
    """
    scheme, separator, _ = location.partition("://")
    kind = _KINDS.get(scheme if separator else "")
    if kind is None:
        raise StorageError(
            f"{location} is no place that this hubkit can fetch from: expected a folder or the "
            "URL of a hub.",
            location,
        )
    return kind(location)
