"""What changes of a repository share: bytes that stay, the entry in the log, author and time."""

import io
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from registry.errors import CorruptBlobError
from registry.history.commits import Commit
from registry.history.repositories import Repository
from registry.history.trees import Tree
from registry.log.entry import Action
from registry.log.log import Log
from registry.storage.blobs import BlobStore
from registry.storage.files import FileInfo
from registry.tables.references import spare


def store_contents(blobs: BlobStore, *contents: bytes) -> None:
    """Store bytes that a commit needs beside its files."""
    for content in contents:
        blobs.put(io.BytesIO(content), FileInfo.of(content), label="what a commit needs")


def keep_bytes(connection: Connection, blobs: BlobStore, digests: set[str]) -> None:
    """Make sure that bytes are stored, and that garbage collection keeps them.

    Raises:
        CorruptBlobError: Some are not stored.
    """
    spare(connection, digests)
    for digest in sorted(digests):
        if blobs.ensure_in_place(digest) is None:
            raise CorruptBlobError(
                f"The bytes {digest[:12]} that a commit names are not stored. Send them again.",
                digest,
            )


def log_change(
    log: Log,
    connection: Connection,
    action: Action,
    repository: Repository,
    actor: str,
    **details: Any,
) -> None:
    """Log a change; only an adapter's name is the name of the entry."""
    if repository.kind == "model":
        log.append(connection, action, repository.ref, actor=actor, **details)
    else:
        log.append(connection, action, actor=actor, repository=repository.place, **details)


def details_of(commit: Commit, tree: Tree, branch: str | None) -> dict[str, Any]:
    """Return the facts of a commit for the log, beside those of a version.

    Args:
        commit: The commit.
        tree: Its files.
        branch: The branch that it was made on; None if no branch has it.
    """
    return {"branch": branch, "commit": commit.oid, "parent": commit.parent, "tree": tree.digest}


def full_details_of(commit: Commit, tree: Tree, branch: str | None) -> dict[str, Any]:
    """Return all facts of a commit for the log, for a change that publishes no version."""
    return {
        "author": commit.author,
        "message": commit.message,
        "created_at": commit.created_at.isoformat(),
        "number": commit.version,
        "reason": commit.reason,
        **details_of(commit, tree, branch),
    }


def account_name(actor: str) -> str:
    """Return the name of an actor's account, without that of the token."""
    return actor.partition(" (")[0]


def whole_seconds() -> datetime:
    """Return the time in whole seconds, as git has it."""
    return datetime.now(UTC).replace(microsecond=0)
