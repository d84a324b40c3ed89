"""Repositories as a hub knows them: of a kind, of an account, public or private."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, insert, or_, select, update

from registry.errors import ConflictError, ExistsError, InvalidNameError, RepositoryNotFoundError
from registry.places import Kind, Visibility, folded_name, place_of
from registry.refs import DELETED, AdapterRef
from registry.tables.edit import remove_history
from registry.tables.listings import list_newest
from registry.tables.models import DOWNLOADS, FORMER_NAMES, HUB_LISTINGS, REPOSITORIES, REVISIONS
from registry.tables.record import require_never_moved
from registry.tables.text_index import add_texts, remove_text, text_columns
from registry.tables.versions import load_rows, select_versions

# Built once, as every request of a client asks these.
_EVER = select(REPOSITORIES, DOWNLOADS.c.count.label("fetched")).outerjoin(
    DOWNLOADS, DOWNLOADS.c.repository_id == REPOSITORIES.c.id
)
_REPOSITORIES = _EVER.where(REPOSITORIES.c.deleted_at.is_(None))
_DELETED = _EVER.where(
    REPOSITORIES.c.folded == bindparam("key"), REPOSITORIES.c.deleted_at.is_not(None)
)
_CALLED_SO_ONCE = _EVER.join(FORMER_NAMES, FORMER_NAMES.c.repository_id == REPOSITORIES.c.id).where(
    FORMER_NAMES.c.folded == bindparam("key"), REPOSITORIES.c.deleted_at.is_not(None)
)
_BY_ID = _REPOSITORIES.where(REPOSITORIES.c.id == bindparam("key"))
# In one query, so that a missing repository takes as long as a hidden one.
_BY_NAME = _REPOSITORIES.where(
    or_(
        REPOSITORIES.c.folded == bindparam("key"),
        REPOSITORIES.c.id
        == select(FORMER_NAMES.c.repository_id)
        .where(FORMER_NAMES.c.folded == bindparam("key"))
        .scalar_subquery(),
    )
)


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of a hub.

    Attributes:
        id: Its row.
        kind: Its kind.
        ref: Owner and name, as they were first spelled.
        account_id: The id of its account; None if it was published without an account.
        visibility: Whether everybody may read it.
        created_at: When it was made.
        downloads: How often files of it were fetched.
    """

    id: int
    kind: Kind
    ref: AdapterRef
    account_id: int | None
    visibility: Visibility
    created_at: datetime
    downloads: int

    @property
    def full_name(self) -> str:
        """``owner/name``."""
        return str(self.ref)

    @property
    def place(self) -> str:
        """Its name below the address of a hub, such as ``datasets/ada/reviews``."""
        return place_of(self.kind, self.ref)


def find_repository(connection: Connection, kind: Kind, ref: AdapterRef) -> Repository | None:
    """Return the repository that has a name, in any spelling, or had it before a move."""
    folded = folded_name(kind, ref)
    return _first(connection, _BY_NAME, folded)


def find_deleted(connection: Connection, kind: Kind, ref: AdapterRef) -> Repository | None:
    """Return the deleted repository that had this name when it was deleted."""
    return _first(connection, _DELETED, folded_name(kind, ref))


def find_deleted_since(
    connection: Connection, kind: Kind, ref: AdapterRef, account_id: int | None
) -> Repository | None:
    """Return a deleted repository of an account that had this name before its last one.

    The account may use each of these names again. The repository first gets this name back, so that
    version numbers continue; its other names then lead to the new one.
    """
    found = _first(connection, _CALLED_SO_ONCE, folded_name(kind, ref))
    return found if found is not None and found.account_id == account_id else None


def load_repository(connection: Connection, id: int) -> Repository:
    """Return a repository by its row.

    Raises:
        RepositoryNotFoundError: It was deleted.
    """
    found = _first(connection, _BY_ID, id)
    if found is None:
        raise RepositoryNotFoundError("The repository was deleted.", id)
    return found


def list_without_account(connection: Connection) -> list[AdapterRef]:
    """Return the names of the repositories that belong to no account, sorted."""
    rows = connection.execute(
        select(REPOSITORIES.c.owner, REPOSITORIES.c.name)
        .where(
            REPOSITORIES.c.account_id.is_(None),
            REPOSITORIES.c.deleted_at.is_(None),
            REPOSITORIES.c.owner.is_distinct_from(DELETED),
        )
        .order_by(REPOSITORIES.c.folded)
    )
    return [AdapterRef(row.owner, row.name) for row in rows]


def make_repository(
    connection: Connection,
    kind: Kind,
    ref: AdapterRef,
    *,
    account_id: int | None,
    visibility: Visibility,
    at: datetime,
) -> Repository:
    """Make a repository, or make a deleted one of that account anew.

    Raises:
        InvalidNameError: The name differs only in its spelling from one that is taken, or is that
            of a repository that was moved.
        ExistsError: There is one of that name.
        ConflictError: Another account deleted one of that name.
    """
    folded = folded_name(kind, ref)
    row = connection.execute(
        select(REPOSITORIES).where(REPOSITORIES.c.folded == folded).with_for_update()
    ).first()
    facts = {"kind": kind, "account_id": account_id, "visibility": visibility}
    if row is None:
        require_never_moved(connection, folded, ref)
        new = {"owner": ref.owner, "name": ref.name, "folded": folded, "created_at": at}
        made = connection.scalar(
            insert(REPOSITORIES).returning(REPOSITORIES.c.id), {**new, **facts, "next_number": 1}
        )
        assert made is not None
        return load_repository(connection, made)
    spelled = AdapterRef(row.owner, row.name)
    if spelled != ref:
        raise InvalidNameError(
            f"{ref} differs only in case, or in the signs between words, from {spelled}, which is "
            "a name here already.",
            ref,
            found=str(spelled),
        )
    if row.deleted_at is None:
        raise ExistsError(f"There is a {kind} {ref} already.", ref)
    if row.account_id != account_id:
        raise ConflictError(
            f"{ref} was deleted on {row.deleted_at:%Y-%m-%d}, and no other account gets its name. "
            "Choose another name.",
            ref,
        )
    connection.execute(
        update(REPOSITORIES)
        .where(REPOSITORIES.c.id == row.id)
        .values(deleted_at=None, created_at=at, **facts)
    )
    return load_repository(connection, row.id)


def set_visibility(connection: Connection, repository_id: int, visibility: Visibility) -> None:
    """Make a repository public or private."""
    for table, key in (
        (REPOSITORIES, REPOSITORIES.c.id),
        (HUB_LISTINGS, HUB_LISTINGS.c.repository_id),
    ):
        connection.execute(update(table).where(key == repository_id).values(visibility=visibility))


def delete_repository(connection: Connection, repository_id: int, at: datetime) -> None:
    """Delete a repository that is no adapter; its name stays with its account."""
    remove_history(connection, repository_id)
    of_repository = REPOSITORIES.c.id == repository_id
    connection.execute(update(REPOSITORIES).where(of_repository).values(deleted_at=at))


def rename_repository(
    connection: Connection, repository: Repository, ref: AdapterRef, account_id: int | None
) -> None:
    """Give a repository another name; the one before keeps leading to it.

    Raises:
        ConflictError: The name is taken, or was.
        InvalidNameError: It is a former name of another repository, or one of the two names is that
            of the remains of a deleted adapter.
    """
    if repository.ref.is_nameless or ref.folded.startswith(f"{DELETED}/"):
        raise InvalidNameError(
            f"{repository.ref} cannot get the name {ref}: names in {DELETED}/ are those of "
            "versions of deleted adapters that others are made of. They keep them.",
            ref,
        )
    before = folded_name(repository.kind, repository.ref)
    folded = folded_name(repository.kind, ref)
    if folded != before:
        taken = select(REPOSITORIES.c.id).where(REPOSITORIES.c.folded == folded)
        if connection.scalar(taken) is not None:
            raise ExistsError(f"The name {ref} is taken.", ref)
        former = FORMER_NAMES.c.folded == folded
        returning = connection.scalar(select(FORMER_NAMES.c.repository_id).where(former))
        if returning not in (None, repository.id):
            require_never_moved(connection, folded, ref)
        connection.execute(FORMER_NAMES.delete().where(former))
        connection.execute(insert(FORMER_NAMES), {"folded": before, "repository_id": repository.id})
    connection.execute(
        update(REPOSITORIES)
        .where(REPOSITORIES.c.id == repository.id)
        .values(owner=ref.owner, name=ref.name, folded=folded, account_id=account_id)
    )
    _find_by_name(connection, repository.id)


def _find_by_name(connection: Connection, id: int) -> None:
    """Write the new name of a repository to the search index."""
    list_newest(connection, id)
    of_repository = REVISIONS.c.repository_id == id
    versions = load_rows(connection, select_versions().where(of_repository))
    remove_text(connection, select(REVISIONS.c.id).where(of_repository))
    if versions:
        add_texts(connection, {row.id: text_columns(one.ref, one) for row, one in versions})


def _first(connection: Connection, statement: Select[Any], key: str | int) -> Repository | None:
    row = connection.execute(statement, {"key": key}).first()
    return None if row is None else repository_of(row)


def repository_of(row: Row[Any]) -> Repository:
    """Return the repository of a row with the columns of its table and `fetched`."""
    return Repository(
        id=row.id,
        kind=row.kind,
        ref=AdapterRef(row.owner, row.name),
        account_id=row.account_id,
        visibility=row.visibility,
        created_at=row.created_at,
        downloads=row.fetched or 0,
    )
