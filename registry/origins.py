"""Where a version was pulled from, so that bytes that were lost or damaged can be fetched again.

An origin is written as a location: a folder, or later a URL. Each kind has a row in `_KINDS`.
Locations come from pulls of this registry only, never from a manifest or a bundle.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from registry.errors import StorageError
from registry.storage.blobs import BlobStore
from registry.tables.models import Origin as OriginRow
from registry.tables.models import Revision, RevisionFile
from registry.tables.versions import Version

if TYPE_CHECKING:
    from registry.catalog import Catalog


class Origin(Protocol):
    """What can give back the bytes of a blob."""

    def open(self, digest: str, *, label: str) -> BinaryIO:
        """Open a blob for reading; whoever reads it checks the digest.

        Raises:
            CorruptBlobError: It is not there.
            StorageError: It cannot be read.
        """
        ...


_KINDS: dict[str, Callable[[str], Origin]] = {"": lambda location: BlobStore(Path(location))}
"""How to open a location, by the scheme of its URL; a folder has none."""


def open_origin(location: str) -> Origin:
    """Return what is at a location.

    Raises:
        StorageError: It is of a kind that this hubkit does not know.
    """
    scheme, separator, _ = location.partition("://")
    kind = _KINDS.get(scheme if separator else "")
    if kind is None:
        raise StorageError(
            f"{location} is no place that this hubkit can fetch from: expected a folder.", location
        )
    return kind(location)


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


def pulled_from(catalog: "Catalog", version: Version) -> list[str]:
    """Return the folders and URLs that a version was pulled from, the first one first."""
    with catalog.database.read() as session:
        return find_origins(session, version.manifest_digest)
