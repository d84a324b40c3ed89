"""What changes of a repository's history share."""

import io
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from registry.errors import CorruptBlobError, RevisionNotFoundError
from registry.history.commits import Commit, find_branch
from registry.history.repositories import Repository
from registry.log.entry import Action
from registry.log.log import Log
from registry.storage.blobs import BlobStore
from registry.tables.references import spare


def store_contents(blobs: BlobStore, *contents: bytes) -> None:
    """Store what a commit needs beside its files."""
    for content in contents:
        blobs.put(io.BytesIO(content), label="what a commit needs")


def keep_bytes(connection: Connection, blobs: BlobStore, digests: set[str]) -> None:
    """Make sure that bytes are there, and stay.

    Raises:
        CorruptBlobError: They are not.
    """
    spare(connection, digests)
    for digest in sorted(digests):
        if blobs.ensure_in_place(digest) is None:
            raise CorruptBlobError(
                f"The bytes {digest[:12]} that a commit names are not stored. Send them again.",
                digest,
            )


def require_branch(connection: Connection, repository: Repository, branch: str) -> Commit:
    """Return the last commit of a branch.

    Raises:
        RevisionNotFoundError: There is no such branch.
    """
    found = None if "\0" in branch else find_branch(connection, repository.id, branch)
    if found is None:
        raise RevisionNotFoundError(
            f"{repository.full_name} has no branch {branch!r}.", branch, given=branch
        )
    return found


def log_change(
    log: Log,
    connection: Connection,
    action: Action,
    repository: Repository,
    actor: str,
    **details: Any,
) -> None:
    """Log a change; names of adapters alone are names in the log."""
    if repository.kind == "model":
        log.append(connection, action, repository.ref, actor=actor, **details)
    else:
        log.append(connection, action, actor=actor, repository=repository.place, **details)


def account_name(actor: str) -> str:
    """Return the account of an actor, without the token that it showed."""
    return actor.partition(" (")[0]


def whole_seconds() -> datetime:
    """Return the time, as git counts it."""
    return datetime.now(UTC).replace(microsecond=0)
