"""Access tokens, with which a program acts for a user."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, or_, select, update

from registry.accounts.access import LEVELS, Account, Caller, Level
from registry.accounts.rows import account_of, remove_token, require_account
from registry.accounts.token_text import hash_token, hint, is_well_formed, make_token
from registry.errors import (
    ConflictError,
    InvalidNameError,
    RefNotFoundError,
    TokenNotFoundError,
    did_you_mean,
)
from registry.places import folded_name, parse_place, place_of
from registry.refs import AdapterRef
from registry.store import Store
from registry.tables.models import (
    ACCOUNTS,
    MEMBERS,
    REPOSITORIES,
    TOKEN_REPOSITORIES,
    TOKENS,
)

# Built once, as every request of a client asks these.
_WITH_HASH = (
    select(
        TOKENS.c.id.label("token_id"),
        TOKENS.c.name.label("token"),
        TOKENS.c.scope,
        TOKENS.c.expires_at,
        ACCOUNTS.c.id,
        ACCOUNTS.c.name,
        ACCOUNTS.c.kind,
        ACCOUNTS.c.created_at,
        ACCOUNTS.c.admin,
    )
    .join(ACCOUNTS, ACCOUNTS.c.id == TOKENS.c.account_id)
    .where(TOKENS.c.hash == bindparam("hash"), ACCOUNTS.c.deleted_at.is_(None))
)
_ROLES = select(MEMBERS.c.organisation_id, MEMBERS.c.role).where(
    MEMBERS.c.user_id == bindparam("user_id")
)
_LIMITS = select(TOKEN_REPOSITORIES.c.repository_id).where(
    TOKEN_REPOSITORIES.c.token_id == bindparam("token_id")
)
_TOUCH = (
    update(TOKENS)
    .where(
        TOKENS.c.id == bindparam("token_id"),
        or_(TOKENS.c.last_used_at.is_(None), TOKENS.c.last_used_at < bindparam("at")),
    )
    .values(last_used_at=bindparam("at"))
)


@dataclass(frozen=True, slots=True)
class Token:
    """The facts of a token; only its user knows its text.

    Attributes:
        name: The name that its user gave it.
        hint: The start of its text.
        scope: The most that it allows.
        repositories: The names of the repositories that it is limited to, by name; empty for no
            limit.
        created_at: When it was made.
        expires_at: When it ends; None for never.
        last_used_at: About when it was last used; None for never.
    """

    name: str
    hint: str
    scope: Level
    repositories: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class Tokens:
    """The access tokens of one registry.

    Args:
        store: What holds the registry.
    """

    def __init__(self, store: Store) -> None:
        """Touch nothing yet."""
        self._store = store

    def create(
        self,
        user: str,
        name: str,
        scope: Level,
        *,
        repositories: Iterable[str] = (),
        expires_at: datetime | None = None,
    ) -> str:
        """Make a token, and return its text, of which only a hash is kept.

        Args:
            user: The user's name.
            name: The token's name: one line of 1 to 96 characters.
            scope: The most that it allows.
            repositories: The names of the repositories that it is limited to: ``owner/name``, or
                ``datasets/owner/name`` or ``spaces/owner/name``; default: no limit.
            expires_at: When it ends; default: never.

        Raises:
            AccountNotFoundError: No user has this name.
            InvalidNameError: The name of the token cannot be stored, there is no such scope, or
                it expires in the past.
            ConflictError: The user has a token of that name.
            RefNotFoundError: There is no such repository.
        """
        now = datetime.now(UTC)
        _check(name, scope, expires_at, now)
        text = make_token()

        def change(connection: Connection) -> None:
            account = require_account(connection, user, "user")
            limits = [_find_repository(connection, one) for one in dict.fromkeys(repositories)]
            if name in _names(connection, account.id):
                raise ConflictError(
                    f"{account.name} has a token {name!r}. Choose another name, or revoke it.",
                    name,
                )
            new = {
                "account_id": account.id,
                "name": name,
                "hash": hash_token(text),
                "hint": hint(text),
                "scope": scope,
                "created_at": now,
                "expires_at": expires_at,
            }
            token_id = connection.scalar(insert(TOKENS).returning(TOKENS.c.id), new)
            rows = [{"token_id": token_id, "repository_id": id} for id in dict(limits)]
            if rows:
                connection.execute(insert(TOKEN_REPOSITORIES), rows)
            self._store.log.append(
                connection,
                "token",
                change="created",
                account=account.name,
                token=name,
                scope=scope,
                repositories=[*dict(limits).values()] or None,
                created_at=now.isoformat(),
                expires_at=None if expires_at is None else expires_at.isoformat(),
            )

        self._store.database.transact(change)
        return text

    def check(self, text: str) -> Caller | None:
        """Return the caller of a token; None if this registry has no such token, or it has expired.

        A text that no token can have takes no query.
        """
        if not is_well_formed(text):
            return None
        with self._store.database.read() as connection:
            row = connection.execute(_WITH_HASH, {"hash": hash_token(text)}).one_or_none()
            if row is None or (row.expires_at and row.expires_at <= datetime.now(UTC)):
                return None
            roles = connection.execute(_ROLES, {"user_id": row.id}).all()
            limits = connection.scalars(_LIMITS, {"token_id": row.token_id}).all()
        return Caller(
            account=account_of(row),
            token_id=row.token_id,
            token=row.token,
            scope=row.scope,
            repositories=frozenset(limits) or None,
            roles={row.organisation_id: row.role for row in roles},
            expires_at=row.expires_at,
        )

    def of(self, user: Account) -> list[Token]:
        """Return the tokens of a user, by name."""
        with self._store.database.read() as connection:
            of_user = TOKENS.c.account_id == user.id
            rows = connection.execute(select(TOKENS).where(of_user)).all()
            limits = connection.execute(
                select(TOKEN_REPOSITORIES.c.token_id, REPOSITORIES)
                .join(REPOSITORIES, REPOSITORIES.c.id == TOKEN_REPOSITORIES.c.repository_id)
                .where(TOKEN_REPOSITORIES.c.token_id.in_([row.id for row in rows]))
                .order_by(REPOSITORIES.c.folded)
            ).all()
        return [
            Token(
                name=row.name,
                hint=row.hint,
                scope=row.scope,
                repositories=tuple(_full_name(one) for one in limits if one.token_id == row.id),
                created_at=row.created_at,
                expires_at=row.expires_at,
                last_used_at=row.last_used_at,
            )
            for row in sorted(rows, key=lambda row: str(row.name))
        ]

    def revoke(self, user: str, name: str) -> None:
        """End a token.

        Raises:
            AccountNotFoundError: No user has this name.
            TokenNotFoundError: The user has no token of that name.
        """

        def change(connection: Connection) -> None:
            account = require_account(connection, user, "user")
            ids = _names(connection, account.id)
            if name not in ids:
                raise TokenNotFoundError(
                    f"{account.name} has no token {name!r}.{did_you_mean(name, ids)}", account.name
                )
            remove_token(connection, ids[name])
            self._store.log.append(
                connection,
                "token",
                change="revoked",
                account=account.name,
                token=name,
            )

        self._store.database.transact(change)

    def touch(self, uses: Mapping[int, datetime]) -> None:
        """Record when tokens were used, unless a later time is recorded.

        Args:
            uses: The time of each, by `Caller.token_id`.
        """
        rows = [{"token_id": token_id, "at": at} for token_id, at in sorted(uses.items())]
        if rows:
            with self._store.database.write() as connection:
                connection.execute(_TOUCH, rows)


def _check(name: str, scope: str, expires_at: datetime | None, now: datetime) -> None:
    if not (0 < len(name) <= 96 and name.isprintable() and name == name.strip()):
        raise InvalidNameError(
            f"A token's name is one line of 1 to 96 printable characters, not {name!r}.", name
        )
    if scope not in LEVELS:
        raise InvalidNameError(f"A token's scope is {' or '.join(LEVELS)}, not {scope!r}.", scope)
    if expires_at is not None and expires_at <= now:
        raise InvalidNameError(f"A token expires in the future, not at {expires_at}.", expires_at)


def _names(connection: Connection, account_id: int) -> dict[str, int]:
    """Return the ids of an account's tokens by their names."""
    rows = connection.execute(
        select(TOKENS.c.name, TOKENS.c.id).where(TOKENS.c.account_id == account_id)
    )
    return {row.name: row.id for row in rows}


def _find_repository(connection: Connection, name: str) -> tuple[int, str]:
    """Return the id of a repository, and its name below the address of a hub.

    Raises:
        InvalidNameError: No repository can have this name.
        RefNotFoundError: No repository has it.
    """
    there = (
        REPOSITORIES.c.folded == folded_name(*parse_place(name)),
        REPOSITORIES.c.deleted_at.is_(None),
    )
    row = connection.execute(select(REPOSITORIES).where(*there)).one_or_none()
    if row is None or "@" in name:
        raise RefNotFoundError(f"No repository is called {name}.", name)
    return row.id, _full_name(row)


def _full_name(row: Row[Any]) -> str:
    return place_of(row.kind, AdapterRef(row.owner, row.name))
