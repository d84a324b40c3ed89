"""Changing rows that are there: aliases, yanks and deletion, inside a write transaction."""

from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, aliased

from registry.errors import ConflictError, InvalidNameError
from registry.refs import LATEST, AdapterRef
from registry.tables.listings import list_newest
from registry.tables.lookup import alias_not_found, find_repository, find_revision
from registry.tables.models import (
    Listing,
    NamedRef,
    Origin,
    Repository,
    Revision,
    RevisionFile,
    RevisionMetric,
    RevisionParent,
    RevisionTag,
)
from registry.tables.text_index import remove_text

_UNSYNCHRONIZED = {"synchronize_session": False}


def point_alias(session: Session, ref: AdapterRef, alias: str) -> tuple[int, bool]:
    """Make ``name@alias`` mean the version `ref` names; return its id, and whether it is news.

    Raises:
        InvalidNameError: `alias` is misspelled, or is ``latest``, which is computed.
        NotFoundError: As `find_revision`.
        ConflictError: The version is yanked.
    """
    named = AdapterRef(ref.owner, ref.name, alias=alias)
    if alias == LATEST:
        raise InvalidNameError(
            f"{named} cannot be set: it always is the newest version that is not yanked. "
            "Choose another alias.",
            named,
        )
    revision = find_revision(session, ref)
    if revision.yanked_at is not None:
        raise ConflictError(
            f"{ref} is yanked ({revision.yank_reason}), so an alias to it would find nothing. "
            "Choose another version, or unyank this one.",
            ref,
        )
    row = session.get(NamedRef, (revision.repository_id, alias))
    if row is not None and row.revision_id == revision.id:
        return revision.id, False
    session.merge(
        NamedRef(repository_id=revision.repository_id, name=alias, revision_id=revision.id)
    )
    session.flush()
    return revision.id, True


def drop_alias(session: Session, ref: AdapterRef, alias: str) -> None:
    """Forget an alias.

    Raises:
        RefNotFoundError: There is no adapter of that name.
        AliasNotFoundError: There is no such alias.
    """
    named = AdapterRef(ref.owner, ref.name, alias=alias)
    repository = find_repository(session, named)
    row = session.get(NamedRef, (repository.id, alias))
    if row is None:
        raise alias_not_found(session, repository, named)
    session.delete(row)
    session.flush()


def set_yank(session: Session, ref: AdapterRef, at: datetime | None, reason: str | None) -> int:
    """Yank a version at a time for a reason, or undo it with None; return its id.

    Raises:
        InvalidNameError: `ref` has no number.
        NotFoundError: As `find_revision`.
    """
    if ref.version is None:
        raise InvalidNameError(
            f"Say which version of {ref.repository} is meant, as in {ref.at(1)}.", ref
        )
    revision = find_revision(session, ref)
    revision.yanked_at, revision.yank_reason = at, reason
    session.flush()
    list_newest(session, revision.repository_id)
    return revision.id


def delete_adapter(session: Session, ref: AdapterRef, at: datetime) -> list[int]:
    """Delete all versions of an adapter, keep its name from others, and return their numbers.

    Raises:
        InvalidNameError: `ref` has a version or an alias.
        RefNotFoundError: There is no adapter of that name.
        ConflictError: Another adapter is made of it.
    """
    if ref != ref.repository:
        raise InvalidNameError(
            f"Only a whole adapter can be deleted: expected {ref.repository}, found {ref}. "
            f'To hide one version, use `hubkit yank {ref} --reason "..."`.',
            ref,
        )
    repository = find_repository(session, ref)
    users = _users(session, repository)
    if users:
        shown = ", ".join(map(str, users[:5])) + (", ..." if len(users) > 5 else "")
        raise ConflictError(
            f"{ref} cannot be deleted: {shown} would lose what it is made of. Delete that first, "
            "or yank the versions of this one, which hides them and keeps their bytes.",
            ref,
        )
    ids = select(Revision.id).where(Revision.repository_id == repository.id)
    numbers = [
        number
        for number in session.scalars(
            select(Revision.number)
            .where(Revision.repository_id == repository.id, Revision.number.is_not(None))
            .order_by(Revision.number)
        )
        if number is not None
    ]
    remove_text(session, ids)
    session.execute(delete(Listing).where(Listing.repository_id == repository.id))
    for table, column in (
        (NamedRef, NamedRef.revision_id),
        (Origin, Origin.revision_id),
        (RevisionFile, RevisionFile.revision_id),
        (RevisionMetric, RevisionMetric.revision_id),
        (RevisionTag, RevisionTag.revision_id),
        (RevisionParent, RevisionParent.child_id),
    ):
        session.execute(delete(table).where(column.in_(ids)), execution_options=_UNSYNCHRONIZED)
    session.execute(
        delete(Revision).where(Revision.repository_id == repository.id),
        execution_options=_UNSYNCHRONIZED,
    )
    repository.deleted_at = at
    session.flush()
    return numbers


def _users(session: Session, repository: Repository) -> list[AdapterRef]:
    """Return what would lose a parent: versions elsewhere made of digests that are only here."""
    same = aliased(Revision)
    elsewhere = (
        select(same.id)
        .where(
            same.manifest_digest == RevisionParent.digest,
            same.repository_id != repository.id,
        )
        .exists()
    )
    digests = select(Revision.manifest_digest).where(Revision.repository_id == repository.id)
    rows = session.execute(
        select(Repository.owner, Repository.name, func.max(Revision.number))
        .join(Revision, Revision.repository_id == Repository.id)
        .join(RevisionParent, RevisionParent.child_id == Revision.id)
        .where(RevisionParent.digest.in_(digests), Repository.id != repository.id, ~elsewhere)
        .group_by(Repository.id, Repository.owner, Repository.name)
        .order_by(Repository.id)
    ).all()
    return [AdapterRef(owner, name, version=number) for owner, name, number in rows]
