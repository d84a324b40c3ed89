"""Possession: the bytes that an account may name in a commit without sending them.

To know a digest is not enough. An account may name files that it sent within a day, and files of
repositories that it may read.
"""

from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from registry.storage.files import FileInfo
from registry.tables.models import COMMITS, REPOSITORIES, TREE_FILES, UPLOADS
from registry.tables.reader import Reader
from registry.tables.versions import batches

KEPT = timedelta(days=1)
"""How long an account may name files that it sent."""


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
            .where(TREE_FILES.c.sha256.in_(batch), reader.readable)
            .distinct()
        )
        found.update((row.sha256, row.size) for row in connection.execute(there))
    return found
