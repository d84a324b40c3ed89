"""Possession: the bytes that an account may name in a commit without sending them.

To know a digest is not enough. An account may name files that it sent within a day, and files of
repositories that it may read.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select, true

from registry.manifest import Manifest
from registry.storage.files import FileInfo
from registry.tables.models import COMMITS, REPOSITORIES, REVISIONS, TREE_FILES, UPLOADS
from registry.tables.versions import batches

KEPT = timedelta(days=1)
"""How long an account may name files that it sent."""


@dataclass(frozen=True, slots=True)
class Reader:
    """The private repositories of a hub that a reader may read.

    Attributes:
        accounts: The ids of the accounts whose private repositories may be read.
        repositories: The ids of the only ones of these; None if there is no such limit.
        everything: Whether all private repositories may be read.
    """

    accounts: frozenset[int] = frozenset()
    repositories: frozenset[int] | None = None
    everything: bool = False

    @property
    def private(self) -> ColumnElement[bool]:
        """The condition on a private repository."""
        if self.everything:
            return true()
        conditions: list[ColumnElement[bool]] = [REPOSITORIES.c.account_id.in_(self.accounts)]
        if self.repositories is not None:
            conditions.append(REPOSITORIES.c.id.in_(self.repositories))
        return and_(*conditions)

    @property
    def readable(self) -> ColumnElement[bool]:
        """The condition on a repository that may be read, be it public or private."""
        return and_(
            REPOSITORIES.c.deleted_at.is_(None),
            REPOSITORIES.c.account_id.is_not(None),
            or_(REPOSITORIES.c.visibility == "public", self.private),
        )


def remember_uploads(
    connection: Connection, account_id: int, infos: Collection[FileInfo], now: datetime
) -> None:
    """Record that an account sent some files; forget uploads of long ago."""
    connection.execute(delete(UPLOADS).where(UPLOADS.c.uploaded_at < now - KEPT))
    sizes = {info.sha256: info.size for info in infos}
    for batch in batches(sorted(sizes)):
        place = (UPLOADS.c.account_id == account_id, UPLOADS.c.sha256.in_(batch))
        connection.execute(delete(UPLOADS).where(*place))
        new = [
            {"account_id": account_id, "sha256": sha256, "size": sizes[sha256], "uploaded_at": now}
            for sha256 in batch
        ]
        connection.execute(insert(UPLOADS), new)


def possessed(
    connection: Connection,
    digests: Collection[str],
    *,
    account_id: int,
    reader: Reader,
    now: datetime,
) -> dict[str, int]:
    """Return the sizes of the blobs that an account may name, by digest."""
    found: dict[str, int] = {}
    for batch in batches(sorted(digests)):
        sent = select(UPLOADS.c.sha256, UPLOADS.c.size).where(
            UPLOADS.c.account_id == account_id,
            UPLOADS.c.sha256.in_(batch),
            UPLOADS.c.uploaded_at >= now - KEPT,
        )
        found.update((row.sha256, row.size) for row in connection.execute(sent))
        there = (
            select(TREE_FILES.c.sha256, TREE_FILES.c.size)
            .join(COMMITS, COMMITS.c.tree_id == TREE_FILES.c.tree_id)
            .join(REPOSITORIES, REPOSITORIES.c.id == COMMITS.c.repository_id)
            .where(
                TREE_FILES.c.sha256.in_(batch),
                reader.readable,
            )
            .distinct()
        )
        found.update((row.sha256, row.size) for row in connection.execute(there))
    return found


def may_read_parents(reader: Reader, connection: Connection, manifest: Manifest) -> bool:
    """Whether a reader may read all parents of a version."""
    digests = {parent.digest for parent in manifest.parents}
    readable = (
        select(REVISIONS.c.manifest_digest)
        .join(REPOSITORIES, REPOSITORIES.c.id == REVISIONS.c.repository_id)
        .where(
            REVISIONS.c.manifest_digest.in_(digests),
            reader.readable,
        )
        .distinct()
    )
    return digests <= set(connection.scalars(readable))
