"""Changes to the rows of accounts and members, also when the log is replayed."""

from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from registry.accounts.access import Account, Level
from registry.errors import AccountNotFoundError, ConflictError, did_you_mean
from registry.places import PREFIXES
from registry.refs import DELETED, fold_owner
from registry.tables.models import (
    ACCOUNTS,
    HUB_LISTINGS,
    MEMBERS,
    REPOSITORIES,
    TOKEN_REPOSITORIES,
    TOKENS,
)
from registry.tables.versions import AnyRow

Kind = Literal["user", "organisation"]

_MOST_NAMES = 5000
_KINDS = {None: "user or organisation", "user": "user", "organisation": "organisation"}


def account_of(row: AnyRow) -> Account:
    """Return the account of a row of its table."""
    return Account(row.id, row.name, row.kind, row.created_at, bool(row.admin))


def find_account(connection: Connection, name: str) -> Row[Any] | None:
    """Return the row of an account by its name in any spelling; None if there is none.

    A removed account counts as none.

    Raises:
        InvalidNameError: No account can have this name.
    """
    found = ACCOUNTS.c.folded == fold_owner(name)
    return connection.execute(
        select(ACCOUNTS).where(found, ACCOUNTS.c.deleted_at.is_(None))
    ).one_or_none()


def require_account(connection: Connection, name: str, kind: Kind | None = None) -> Row[Any]:
    """Return the row of an account.

    Raises:
        InvalidNameError: No account can have this name.
        AccountNotFoundError: No account has it, or the account is of the other kind.
    """
    row = find_account(connection, name)
    if row is None:
        there = select(ACCOUNTS.c.name).where(ACCOUNTS.c.deleted_at.is_(None))
        if kind is not None:
            there = there.where(ACCOUNTS.c.kind == kind)
        known = connection.scalars(there.order_by(ACCOUNTS.c.id.desc()).limit(_MOST_NAMES))
        raise AccountNotFoundError(
            f"No {_KINDS[kind]} is called {name}.{did_you_mean(name, known)}", name, expected=kind
        )
    if kind not in (None, row.kind):
        article = {"user": "a user", "organisation": "an organisation"}
        raise AccountNotFoundError(
            f"{row.name} is {article[row.kind]}: expected {article[str(kind)]}.",
            row.name,
            expected=kind,
            found=row.kind,
        )
    return row


def add_account(
    connection: Connection, name: str, kind: Kind, created_at: datetime, *, admin: bool = False
) -> Account:
    """Insert an account, and give it the repositories that were published in its name.

    Raises:
        InvalidNameError: No account can have this name.
        ConflictError: An account has this name, or had it.
    """
    folded = fold_owner(name)
    taken = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.folded == folded)).one_or_none()
    if taken is not None:
        what = "a user" if taken.kind == "user" else "an organisation"
        state = (
            f"{taken.name} is {what}"
            if taken.deleted_at is None
            else f"{taken.name} was {what} until {taken.deleted_at:%Y-%m-%d}, and no other account "
            "gets its name"
        )
        raise ConflictError(f"{state}. Choose another name.", taken.name)
    new = {
        "name": name,
        "folded": folded,
        "kind": kind,
        "admin": admin,
        "created_at": created_at,
    }
    id = connection.execute(insert(ACCOUNTS).returning(ACCOUNTS.c.id), new).scalar_one()
    connection.execute(
        update(REPOSITORIES)
        .where(REPOSITORIES.c.account_id.is_(None), _called_as_of(folded))
        .values(account_id=id)
    )
    owned = select(REPOSITORIES.c.id).where(REPOSITORIES.c.account_id == id)
    connection.execute(
        update(HUB_LISTINGS).where(HUB_LISTINGS.c.repository_id.in_(owned)).values(account_id=id)
    )
    return Account(id, name, kind, created_at, admin)


def _called_as_of(folded: str) -> ColumnElement[bool]:
    """The condition that a repository of any kind has this owner in its name."""
    return or_(
        *(
            REPOSITORIES.c.folded.startswith(f"{prefix}{folded}/", autoescape=True)
            for prefix in PREFIXES.values()
        )
    )


def remove_account(connection: Connection, account_id: int, at: datetime) -> None:
    """Remove an account, its tokens and memberships; its name stays taken."""
    of_account = TOKENS.c.account_id == account_id
    for token_id in connection.scalars(select(TOKENS.c.id).where(of_account)).all():
        remove_token(connection, token_id)
    for column in (MEMBERS.c.user_id, MEMBERS.c.organisation_id):
        connection.execute(delete(MEMBERS).where(column == account_id))
    connection.execute(
        update(ACCOUNTS)
        .where(ACCOUNTS.c.id == account_id)
        .values(deleted_at=at, password=None, admin=False)
    )


def remove_token(connection: Connection, token_id: int) -> None:
    """Remove a token."""
    limits = TOKEN_REPOSITORIES.c.token_id == token_id
    connection.execute(delete(TOKEN_REPOSITORIES).where(limits))
    connection.execute(delete(TOKENS).where(TOKENS.c.id == token_id))


def set_role(
    connection: Connection, organisation_id: int, user_id: int, role: Level | None
) -> bool:
    """Give a user a role in an organisation, or end it with None; return whether that is new."""
    member = (MEMBERS.c.organisation_id == organisation_id, MEMBERS.c.user_id == user_id)
    before = connection.scalar(select(MEMBERS.c.role).where(*member))
    if before == role:
        return False
    if role is None:
        connection.execute(delete(MEMBERS).where(*member))
    elif before is None:
        new = {"organisation_id": organisation_id, "user_id": user_id, "role": role}
        connection.execute(insert(MEMBERS), new)
    else:
        connection.execute(update(MEMBERS).where(*member).values(role=role))
    return True


def count_repositories(connection: Connection, account_id: int) -> int:
    """Return how many repositories an account owns, without deleted ones."""
    return connection.execute(
        select(func.count())
        .select_from(REPOSITORIES)
        .where(
            REPOSITORIES.c.account_id == account_id,
            REPOSITORIES.c.deleted_at.is_(None),
            REPOSITORIES.c.owner != DELETED,
        )
    ).scalar_one()
