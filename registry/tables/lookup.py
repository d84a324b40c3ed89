"""Find the version of a ref, with a helpful error if there is none."""

from sqlalchemy import Connection, bindparam, select

from registry.errors import (
    AliasNotFoundError,
    NotFoundError,
    RefNotFoundError,
    VersionNotFoundError,
    did_you_mean,
)
from registry.refs import DELETED, LATEST, AdapterRef
from registry.tables.models import (
    BRANCHES,
    COMMIT_TAGS,
    COMMITS,
    REFS,
    REPOSITORIES,
    REVISIONS,
)
from registry.tables.versions import AnyRow, Version, load_rows, select_versions

_MOST_NAMES = 5000
_MOST_NUMBERS = 10

# Built once, unlike most statements: 7,100 names are resolved in a second; with statements built
# for each call, 2,900.
_NAMED = (
    select_versions()
    .add_columns(REVISIONS.c.repository_id)
    .where(REPOSITORIES.c.folded == bindparam("folded"))
)
_NUMBERED = _NAMED.where(REVISIONS.c.number == bindparam("number"))
_ALIASED = _NAMED.join(REFS, REFS.c.revision_id == REVISIONS.c.id).where(
    REFS.c.name == bindparam("alias"),
    REVISIONS.c.yanked_at.is_(None),
)
_TAGGED = (
    _NAMED.join(COMMITS, COMMITS.c.revision_id == REVISIONS.c.id)
    .join(COMMIT_TAGS, COMMIT_TAGS.c.commit_id == COMMITS.c.id)
    .where(COMMIT_TAGS.c.name == bindparam("alias"), REVISIONS.c.yanked_at.is_(None))
)
_NEWEST = _NAMED.where(REVISIONS.c.yanked_at.is_(None)).order_by(REVISIONS.c.number.desc()).limit(1)


def find_version(connection: Connection, ref: AdapterRef) -> Version:
    """Return the version that `ref` names: by number, alias or tag, or else the latest.

    Raises:
        RefNotFoundError: There is no adapter of that name; the message has near matches.
        VersionNotFoundError: There is no such version, or it is yanked and was not asked for by its
            number.
        AliasNotFoundError: There is no such alias.
    """
    return find_row(connection, ref)[1]


def find_row(connection: Connection, ref: AdapterRef) -> tuple[AnyRow, Version]:
    """As `find_version`, with the row: ``id`` and ``repository_id`` are the table's."""
    values: dict[str, str | int] = {"folded": ref.folded}
    if ref.version is not None:
        statement, values["number"] = _NUMBERED, ref.version
    elif ref.alias is not None and ref.alias != LATEST:
        statement, values["alias"] = _ALIASED, ref.alias
    else:
        statement = _NEWEST
    found = load_rows(connection, statement, values)
    if not found and statement is _ALIASED:
        found = load_rows(connection, _TAGGED, values)
    if not found:
        raise _not_found(connection, ref)
    return found[0]


def require_repository(connection: Connection, ref: AdapterRef) -> AnyRow:
    """Return the row of the repository of `ref`, in any spelling.

    Raises:
        RefNotFoundError: There is none, or it was deleted; the message has near matches.
    """
    row = connection.execute(
        select(REPOSITORIES).where(REPOSITORIES.c.folded == ref.folded)
    ).one_or_none()
    if row is None:
        near = _near(connection, ref)
        raise RefNotFoundError(f"No adapter is called {ref.repository}.{near}", ref, found=near)
    if row.deleted_at is not None:
        raise RefNotFoundError(
            f"{ref.repository} was deleted on {row.deleted_at:%Y-%m-%d}; its name stays taken.",
            ref,
            found=row.deleted_at,
        )
    return row


def alias_not_found(
    connection: Connection, repository: AnyRow, ref: AdapterRef
) -> AliasNotFoundError:
    """Return the error for a missing alias, which names the existing ones."""
    known = connection.scalars(
        select(REFS.c.name).where(REFS.c.repository_id == repository.id).order_by(REFS.c.name)
    ).all()
    has = f"it has {', '.join(known)}" if known else "it has none besides latest"
    return AliasNotFoundError(f"{ref.repository} has no alias {ref.alias!r}; {has}.", ref)


def _not_found(connection: Connection, ref: AdapterRef) -> NotFoundError:
    """Return why `ref` names no version.

    Raises:
        RefNotFoundError: There is no adapter of that name at all.
    """
    repository = require_repository(connection, ref)
    if ref.version is not None:
        return VersionNotFoundError(
            f"{ref.repository} has no version {ref.version}; it has "
            f"{_numbers(connection, repository)}.",
            ref,
        )
    if ref.alias not in (None, LATEST):
        return _no_alias(connection, repository, ref)
    reason = connection.scalar(
        select(REVISIONS.c.yank_reason)
        .where(REVISIONS.c.repository_id == repository.id, REVISIONS.c.number.is_not(None))
        .order_by(REVISIONS.c.number.desc())
        .limit(1)
    )
    problem = _why_empty(connection, repository)
    if reason is not None:
        numbers = _numbers(connection, repository)
        newest = numbers.rpartition(" ")[2]
        problem = f"all its versions are yanked ({numbers}), version {newest} because: {reason}"
    return VersionNotFoundError(
        f"{ref.repository} has no latest version: {problem}. "
        "Name a version by its number to use it anyway, or publish a new one.",
        ref,
    )


def _why_empty(connection: Connection, repository: AnyRow) -> str:
    """Return why a repository has no version, from its last commit on ``main``."""
    row = connection.execute(
        select(COMMITS.c.oid, COMMITS.c.reason)
        .join(BRANCHES, BRANCHES.c.commit_id == COMMITS.c.id)
        .where(BRANCHES.c.repository_id == repository.id, BRANCHES.c.name == "main")
    ).first()
    if row is None or row.reason is None:
        return "it is empty"
    return f"its last commit ({row.oid[:12]}) makes none: {row.reason.rstrip('.')}"


def _no_alias(connection: Connection, repository: AnyRow, ref: AdapterRef) -> NotFoundError:
    row = connection.execute(
        select(REVISIONS.c.number, REVISIONS.c.yank_reason)
        .join(REFS, REFS.c.revision_id == REVISIONS.c.id)
        .where(REVISIONS.c.repository_id == repository.id, REFS.c.name == ref.alias)
    ).one_or_none()
    if row is None:
        return alias_not_found(connection, repository, ref)
    return VersionNotFoundError(
        f"{ref} is version {row.number}, which is yanked: {row.yank_reason}. "
        f"Move the alias, or use {ref.at(row.number)} to take it anyway.",
        ref,
    )


def _numbers(connection: Connection, repository: AnyRow) -> str:
    """Return the highest version numbers, the highest one last."""
    numbers = connection.scalars(
        select(REVISIONS.c.number)
        .where(REVISIONS.c.repository_id == repository.id, REVISIONS.c.number.is_not(None))
        .order_by(REVISIONS.c.number.desc())
        .limit(_MOST_NUMBERS + 1)
    ).all()
    shown = ", ".join(map(str, reversed(numbers[:_MOST_NUMBERS])))
    return f"..., {shown}" if len(numbers) > _MOST_NUMBERS else shown or "none"


def _near(connection: Connection, ref: AdapterRef) -> str:
    rows = connection.execute(
        select(REPOSITORIES.c.owner, REPOSITORIES.c.name)
        .where(REPOSITORIES.c.deleted_at.is_(None), REPOSITORIES.c.owner.is_distinct_from(DELETED))
        .order_by(REPOSITORIES.c.id.desc())
        .limit(_MOST_NAMES)
    ).all()
    known = [AdapterRef(owner, name) for owner, name in rows]
    namesakes = sorted(str(other) for other in known if _same_name(other, ref))
    if namesakes:
        return f" Did you mean {' or '.join(namesakes[:3])}?"
    return did_you_mean(str(ref.repository), map(str, known))


def _same_name(one: AdapterRef, other: AdapterRef) -> bool:
    return AdapterRef(None, one.name).folded == AdapterRef(None, other.name).folded
