"""Change existing rows: aliases, yanks and deletion, in a write transaction."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from registry.errors import ConflictError, InvalidNameError
from registry.refs import LATEST, AdapterRef
from registry.tables.listings import list_newest
from registry.tables.lookup import alias_not_found, find_row, require_repository
from registry.tables.models import (
    BRANCHES,
    COMMIT_TAGS,
    COMMITS,
    FILES,
    HUB_LISTINGS,
    HUB_TAGS,
    LISTINGS,
    MEASUREMENTS,
    METRICS,
    NAME_GRAMS,
    ORIGINS,
    PARENTS,
    REFS,
    REPOSITORIES,
    REVISIONS,
    TAGS,
    TREE_FILES,
    TREES,
)
from registry.tables.text_index import remove_text
from registry.tables.versions import batches


def point_alias(connection: Connection, ref: AdapterRef, alias: str) -> tuple[int, bool]:
    """Make ``name@alias`` mean the version `ref` names; return its id, and whether that is new.

    Raises:
        InvalidNameError: `alias` is misspelled, or is ``latest``, which is computed.
        NotFoundError: As `find_version`.
        ConflictError: The version is yanked.
    """
    named = AdapterRef(ref.owner, ref.name, alias=alias)
    if alias == LATEST:
        raise InvalidNameError(
            f"{named} cannot be set: it always is the newest version that is not yanked. "
            "Choose another alias.",
            named,
        )
    row, version = find_row(connection, ref)
    if version.yanked:
        raise ConflictError(
            f"{ref} is yanked ({version.yank_reason}), so an alias to it would find no version. "
            "Choose another version, or unyank this one.",
            ref,
        )
    place = (REFS.c.repository_id == row.repository_id, REFS.c.name == alias)
    held = connection.scalar(select(REFS.c.revision_id).where(*place))
    if held == row.id:
        return row.id, False
    if held is None:
        new = {"repository_id": row.repository_id, "name": alias, "revision_id": row.id}
        connection.execute(insert(REFS), new)
    else:
        connection.execute(update(REFS).where(*place).values(revision_id=row.id))
    return row.id, True


def drop_alias(connection: Connection, ref: AdapterRef, alias: str) -> None:
    """Remove an alias.

    Raises:
        RefNotFoundError: There is no adapter of that name.
        AliasNotFoundError: There is no such alias.
    """
    named = AdapterRef(ref.owner, ref.name, alias=alias)
    repository = require_repository(connection, named)
    dropped = connection.execute(
        delete(REFS).where(REFS.c.repository_id == repository.id, REFS.c.name == alias)
    )
    if not dropped.rowcount:
        raise alias_not_found(connection, repository, named)


def set_yank(
    connection: Connection, ref: AdapterRef, at: datetime | None, reason: str | None
) -> int:
    """Yank a version at a time for a reason, or undo it with None; return its id.

    Raises:
        InvalidNameError: `ref` has no number.
        NotFoundError: As `find_version`.
    """
    if ref.version is None:
        raise InvalidNameError(
            f"Say which version of {ref.repository} is meant, as in {ref.at(1)}.", ref
        )
    row, _ = find_row(connection, ref)
    connection.execute(
        update(REVISIONS).where(REVISIONS.c.id == row.id).values(yanked_at=at, yank_reason=reason)
    )
    list_newest(connection, row.repository_id)
    return int(row.id)


def delete_adapter(connection: Connection, ref: AdapterRef, at: datetime) -> list[int]:
    """Delete all versions of an adapter, and return their numbers; its name stays taken.

    Other adapters may be made of it; see `registry.history.deleting`.

    Raises:
        RefNotFoundError: There is no adapter of that name.
    """
    repository = require_repository(connection, ref)
    ids = select(REVISIONS.c.id).where(REVISIONS.c.repository_id == repository.id)
    numbers = connection.scalars(
        select(REVISIONS.c.number)
        .where(REVISIONS.c.repository_id == repository.id, REVISIONS.c.number.is_not(None))
        .order_by(REVISIONS.c.number)
    ).all()
    remove_text(connection, ids)
    connection.execute(delete(LISTINGS).where(LISTINGS.c.repository_id == repository.id))
    remove_history(connection, repository.id)
    for table in (REFS, ORIGINS, FILES, METRICS, MEASUREMENTS, TAGS):
        connection.execute(delete(table).where(table.c.revision_id.in_(ids)))
    connection.execute(delete(PARENTS).where(PARENTS.c.child_id.in_(ids)))
    connection.execute(delete(REVISIONS).where(REVISIONS.c.repository_id == repository.id))
    gone: dict[str, Any] = {"deleted_at": at}
    if ref.is_nameless:  # its next publication brings its account
        gone |= {"account_id": None, "visibility": "private"}
    connection.execute(update(REPOSITORIES).where(REPOSITORIES.c.id == repository.id).values(gone))
    return list(numbers)


def remove_history(connection: Connection, repository_id: int) -> None:
    """Remove a repository's commits, branches and tags, and trees that no other commit has."""
    for table in (HUB_LISTINGS, HUB_TAGS, NAME_GRAMS, BRANCHES, COMMIT_TAGS):
        connection.execute(delete(table).where(table.c.repository_id == repository_id))
    of_repository = COMMITS.c.repository_id == repository_id
    trees = {*connection.scalars(select(COMMITS.c.tree_id).where(of_repository))}
    # Otherwise, each would have to be deleted before its parent.
    connection.execute(update(COMMITS).where(of_repository).values(parent_id=None))
    connection.execute(delete(COMMITS).where(of_repository))
    remove_trees(connection, trees)


def remove_trees(connection: Connection, ids: Collection[int]) -> None:
    """Remove the trees that no commit has any more."""
    for batch in batches(sorted(ids)):
        held = {*connection.scalars(select(COMMITS.c.tree_id).where(COMMITS.c.tree_id.in_(batch)))}
        gone = sorted(set(batch) - held)
        connection.execute(delete(TREE_FILES).where(TREE_FILES.c.tree_id.in_(gone)))
        connection.execute(delete(TREES).where(TREES.c.id.in_(gone)))
