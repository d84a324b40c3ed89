"""Who reads a hub, and the condition on what they may read."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, or_, select, true

from registry.manifest import Manifest
from registry.tables.models import REPOSITORIES, REVISIONS


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
    def _private(self) -> ColumnElement[bool]:
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
            or_(REPOSITORIES.c.visibility == "public", self._private),
        )


def may_read_parents(reader: Reader, connection: Connection, manifest: Manifest) -> bool:
    """Whether a reader may read all parents of a version."""
    digests = {parent.digest for parent in manifest.parents}
    readable = (
        select(REVISIONS.c.manifest_digest)
        .join(REPOSITORIES, REPOSITORIES.c.id == REVISIONS.c.repository_id)
        .where(REVISIONS.c.manifest_digest.in_(digests), reader.readable)
        .distinct()
    )
    return digests <= set(connection.scalars(readable))
