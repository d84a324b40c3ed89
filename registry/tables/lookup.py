"""From a ref to its row, with an error that helps when there is none."""

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from registry.database.database import Database
from registry.database.prepared import Prepared
from registry.errors import (
    AliasNotFoundError,
    RefNotFoundError,
    VersionNotFoundError,
    did_you_mean,
)
from registry.refs import LATEST, AdapterRef
from registry.tables.models import NamedRef, Repository, Revision, table
from registry.tables.versions import (
    REPOSITORIES,
    REVISIONS,
    Version,
    load_version,
    look_up,
    select_versions,
)

_MOST_NAMES = 5000
_MOST_NUMBERS = 10
_REFS = table("refs")

_NAMED = select_versions().where(REPOSITORIES.c.folded == bindparam("folded"))
_NUMBERED = Prepared(_NAMED.where(REVISIONS.c.number == bindparam("number")))
_ALIASED = Prepared(
    _NAMED.join(_REFS, _REFS.c.revision_id == REVISIONS.c.id).where(
        _REFS.c.name == bindparam("alias"), REVISIONS.c.yanked_at.is_(None)
    )
)
_NEWEST = Prepared(
    _NAMED.where(REVISIONS.c.yanked_at.is_(None)).order_by(REVISIONS.c.number.desc()).limit(1)
)


def find_version(database: Database, ref: AdapterRef) -> Version:
    """Return the version `ref` names, in two statements if it is there.

    Raises:
        NotFoundError: As `find_revision`.
    """
    with database.look_up() as transaction:
        if ref.version is not None:
            found = look_up(transaction, _NUMBERED, folded=ref.folded, number=ref.version)
        elif ref.alias in (None, LATEST):
            found = look_up(transaction, _NEWEST, folded=ref.folded)
        else:
            found = look_up(transaction, _ALIASED, folded=ref.folded, alias=ref.alias)
    for _, version in found:
        return version
    with database.read() as session:
        return load_version(session, find_revision(session, ref).id)


def find_repository(session: Session, ref: AdapterRef) -> Repository:
    """Return the repository of `ref`, however it is spelled.

    Raises:
        RefNotFoundError: There is none, or it was deleted; the message has near matches.
    """
    row = session.scalar(select(Repository).where(Repository.folded == ref.folded))
    if row is None:
        cure = _near(session, ref) or " `hubkit list` shows those that there are."
        raise RefNotFoundError(f"No adapter is called {ref.repository}.{cure}", ref)
    if row.deleted_at is not None:
        raise RefNotFoundError(
            f"{ref.repository} was deleted on {row.deleted_at:%Y-%m-%d}; its name stays taken.", ref
        )
    return row


def find_revision(session: Session, ref: AdapterRef) -> Revision:
    """Return the version `ref` names: by number, by alias, or the latest.

    Raises:
        RefNotFoundError: There is no adapter of that name.
        VersionNotFoundError: There is no such version, or only a yanked one, which nothing but
            its number finds.
        AliasNotFoundError: There is no such alias.
    """
    repository = find_repository(session, ref)
    if ref.version is not None:
        return _by_number(session, repository, ref)
    if ref.alias in (None, LATEST):
        return _latest(session, repository, ref)
    return _by_alias(session, repository, ref)


def _by_number(session: Session, repository: Repository, ref: AdapterRef) -> Revision:
    row = session.scalar(
        select(Revision).where(
            Revision.repository_id == repository.id, Revision.number == ref.version
        )
    )
    if row is None:
        numbers = _numbers(session, repository)
        raise VersionNotFoundError(
            f"{ref.repository} has no version {ref.version}; it has {_listed(numbers)}.", ref
        )
    return row


def _latest(session: Session, repository: Repository, ref: AdapterRef) -> Revision:
    row = session.scalar(
        select(Revision)
        .where(
            Revision.repository_id == repository.id,
            Revision.number.is_not(None),
            Revision.yanked_at.is_(None),
        )
        .order_by(Revision.number.desc())
        .limit(1)
    )
    if row is None:
        newest = session.scalar(
            select(Revision)
            .where(Revision.repository_id == repository.id, Revision.number.is_not(None))
            .order_by(Revision.number.desc())
            .limit(1)
        )
        problem = "it is empty"
        if newest is not None:
            problem = (
                f"all its versions are yanked ({_listed(_numbers(session, repository))}), "
                f"version {newest.number} because: {newest.yank_reason}"
            )
        raise VersionNotFoundError(
            f"{ref.repository} has no latest version: {problem}. "
            "Name a version by its number to use it anyway, or publish a new one.",
            ref,
        )
    return row


def _by_alias(session: Session, repository: Repository, ref: AdapterRef) -> Revision:
    row = session.scalar(
        select(Revision)
        .join(NamedRef, NamedRef.revision_id == Revision.id)
        .where(NamedRef.repository_id == repository.id, NamedRef.name == ref.alias)
    )
    if row is None:
        raise alias_not_found(session, repository, ref)
    if row.yanked_at is not None:
        raise VersionNotFoundError(
            f"{ref} is version {row.number}, which is yanked: {row.yank_reason}. "
            f"Move the alias, or use {ref.at(row.number or 0)} to take it anyway.",
            ref,
        )
    return row


def alias_not_found(
    session: Session, repository: Repository, ref: AdapterRef
) -> AliasNotFoundError:
    """Return the error for an alias that is not there, naming those that are."""
    known = session.scalars(
        select(NamedRef.name).where(NamedRef.repository_id == repository.id).order_by(NamedRef.name)
    ).all()
    has = f"it has {', '.join(known)}" if known else "it has none besides latest"
    return AliasNotFoundError(f"{ref.repository} has no alias {ref.alias!r}; {has}.", ref)


def _numbers(session: Session, repository: Repository) -> list[int]:
    """Return the highest numbers, one more than are shown."""
    newest = session.scalars(
        select(Revision.number)
        .where(Revision.repository_id == repository.id, Revision.number.is_not(None))
        .order_by(Revision.number.desc())
        .limit(_MOST_NUMBERS + 1)
    )
    return [number for number in newest if number is not None][::-1]


def _listed(numbers: list[int]) -> str:
    if not numbers:
        return "none"
    shown = ", ".join(map(str, numbers[-_MOST_NUMBERS:]))
    return f"..., {shown}" if len(numbers) > _MOST_NUMBERS else shown


def _near(session: Session, ref: AdapterRef) -> str:
    rows = session.execute(
        select(Repository.owner, Repository.name)
        .where(Repository.deleted_at.is_(None))
        .order_by(Repository.id.desc())
        .limit(_MOST_NAMES)
    ).all()
    known = [AdapterRef(owner, name) for owner, name in rows]
    namesakes = sorted(str(other) for other in known if _same_name(other, ref))
    if namesakes:
        return f" Did you mean {' or '.join(namesakes[:3])}?"
    return did_you_mean(str(ref.repository), map(str, known))


def _same_name(one: AdapterRef, other: AdapterRef) -> bool:
    return AdapterRef(None, one.name).folded == AdapterRef(None, other.name).folded
