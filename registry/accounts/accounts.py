"""Users, and organisations of users: they own the repositories of a hub, and may commit."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, or_, select, update

from registry.accounts.access import LEVELS, Account, Level
from registry.accounts.passwords import hash_password, is_outdated, is_right
from registry.accounts.rows import (
    Kind,
    account_of,
    add_account,
    count_repositories,
    find_account,
    remove_account,
    require_account,
    set_role,
)
from registry.errors import InvalidNameError
from registry.refs import fold_owner
from registry.store import Store
from registry.tables.models import ACCOUNTS, MEMBERS, TOKENS

RESERVED = frozenset(
    (
        *("about", "account", "accounts", "admin", "api", "assets", "auth", "base", "bases"),
        *("blog", "buckets", "changes", "chat", "collections", "compare", "contact", "datasets"),
        *("deleted", "docs", "download", "downloads", "explore", "favicon-ico", "files", "health"),
        *("healthz", "help", "hub", "inference", "jobs", "join", "kernels", "languages"),
        *("leaderboard", "leaderboards", "lfs", "lineage", "login", "logout", "methods"),
        *("metrics", "models", "new", "notifications", "oauth", "organisations", "organizations"),
        *("orgs", "papers", "posts", "pricing", "privacy", "raw", "resolve", "robots-txt"),
        *("search", "security", "settings", "signin", "signup", "sitemap-xml", "spaces", "static"),
        *("status", "storage", "tags", "tasks", "terms", "token", "tokens", "upload", "uploads"),
        *("user", "users", "v1", "v2", "version", "webhooks", "welcome", "well-known", "xet"),
    )
)
"""Folded names that no account gets: a hub's pages and endpoints have them, or may get them."""


@dataclass(frozen=True, slots=True)
class Member:
    """A user in an organisation.

    Attributes:
        account: The user, among the members of an organisation; the organisation, among the
            memberships of a user.
        role: What the user may do in the organisation.
    """

    account: Account
    role: Level


class Accounts:
    """The accounts of one registry.

    Args:
        store: What holds the registry.

    Names are found under any spelling. The log says that the user of this process made a change.
    """

    def __init__(self, store: Store) -> None:
        """Touch nothing yet."""
        self._store = store

    def add_user(self, name: str, *, password: str | None = None, admin: bool = False) -> Account:
        """Add a user, who from now on owns the adapters that were published in that name.

        Args:
            name: The user's name, by the rule for an adapter's owner.
            password: A password to keep; default: none.
            admin: Whether the user administers the whole hub.

        Raises:
            InvalidNameError: No account can have this name.
            ConflictError: An account has this name, or had it.
            PasswordError: As `hash_password`.
        """
        kept = None if password is None else hash_password(password)
        return self._add(name, "user", kept, admin)

    def add_organisation(self, name: str) -> Account:
        """Add an organisation without members. It owns the adapters published in that name.

        Raises:
            InvalidNameError: No account can have this name.
            ConflictError: An account has this name, or had it.
        """
        return self._add(name, "organisation", None, False)

    def _add(self, name: str, kind: Kind, password: str | None, admin: bool) -> Account:
        _check_name(name)

        def change(connection: Connection) -> Account:
            account = add_account(connection, name, kind, datetime.now(UTC), admin=admin)
            if password is not None:
                _set_password(connection, account.id, password)
            self._store.log.append(
                connection,
                "account",
                change="added",
                account=name,
                kind=kind,
                admin=admin or None,
                created_at=account.created_at.isoformat(),
            )
            return account

        return self._store.database.transact(change)

    def change_user(
        self, name: str, *, password: str | None = None, admin: bool | None = None
    ) -> Account:
        """Change a user's password, or whether the user is an administrator.

        Args:
            name: The user's name.
            password: The new password; default: the old one stays.
            admin: Whether the user administers the whole hub; default: as before.

        Raises:
            AccountNotFoundError: No user has this name.
            PasswordError: As `hash_password`.
        """
        kept = None if password is None else hash_password(password)

        def change(connection: Connection) -> Account:
            row = require_account(connection, name, "user")
            if kept is not None:
                _set_password(connection, row.id, kept)
            if admin is not None:
                changed = update(ACCOUNTS).where(ACCOUNTS.c.id == row.id)
                connection.execute(changed.values(admin=admin))
            self._store.log.append(
                connection,
                "account",
                change="changed",
                account=row.name,
                admin=admin,
                password=True if kept else None,
            )
            return account_of(require_account(connection, name))

        return self._store.database.transact(change)

    def set_member(self, organisation: str, user: str, role: Level | None) -> None:
        """Give a user a role in an organisation; None ends the membership.

        Raises:
            AccountNotFoundError: There is no such organisation or user.
            InvalidNameError: There is no such role.
        """
        if role not in (None, *LEVELS):
            raise InvalidNameError(f"A role is {' or '.join(LEVELS)}, not {role!r}.", role)

        def change(connection: Connection) -> None:
            there = require_account(connection, organisation, "organisation")
            member = require_account(connection, user, "user")
            if set_role(connection, there.id, member.id, role):
                self._store.log.append(
                    connection,
                    "member",
                    organisation=there.name,
                    user=member.name,
                    role=role,
                )

        self._store.database.transact(change)

    def remove(self, name: str, *, kind: Kind | None = None) -> Account:
        """Take an account out of use: its tokens, password and memberships are gone.

        Its repositories stay as they are, and no other account gets its name.

        Args:
            name: The account's name.
            kind: The kind that it must be of; default: any.

        Raises:
            AccountNotFoundError: There is no such account.
        """

        def change(connection: Connection) -> Account:
            row, at = require_account(connection, name, kind), datetime.now(UTC)
            remove_account(connection, row.id, at)
            self._store.log.append(
                connection,
                "account",
                change="removed",
                account=row.name,
                deleted_at=at.isoformat(),
            )
            return account_of(row)

        return self._store.database.transact(change)

    def find(self, name: str) -> Account | None:
        """Return an account; None if there is none, or none can have this name."""
        row = self._find(name)
        return None if row is None else account_of(row)

    def _find(self, name: str) -> Row[Any] | None:
        with self._store.database.read() as connection, suppress(InvalidNameError):
            return find_account(connection, name)
        return None

    def require(self, name: str, kind: Kind | None = None) -> Account:
        """Return an account.

        Raises:
            InvalidNameError: No account can have this name.
            AccountNotFoundError: No account has it, or the account is of the other kind.
        """
        with self._store.database.read() as connection:
            return account_of(require_account(connection, name, kind))

    def users(self) -> list[Account]:
        """Return all users, by name."""
        return self._of_kind("user")

    def organisations(self) -> list[Account]:
        """Return all organisations, by name."""
        return self._of_kind("organisation")

    def _of_kind(self, kind: Kind) -> list[Account]:
        there = (ACCOUNTS.c.kind == kind, ACCOUNTS.c.deleted_at.is_(None))
        with self._store.database.read() as connection:
            rows = connection.execute(select(ACCOUNTS).where(*there)).all()
        return [account_of(row) for row in sorted(rows, key=_folded)]

    def members(self, organisation: Account) -> list[Member]:
        """Return the users in an organisation, by name."""
        return self._members(MEMBERS.c.user_id, MEMBERS.c.organisation_id == organisation.id)

    def memberships(self, user: Account) -> list[Member]:
        """Return the organisations that a user is in, by name."""
        return self._members(MEMBERS.c.organisation_id, MEMBERS.c.user_id == user.id)

    def _members(self, shown: Column[Any], which: ColumnElement[bool]) -> list[Member]:
        statement = (
            select(ACCOUNTS, MEMBERS.c.role).join(MEMBERS, shown == ACCOUNTS.c.id).where(which)
        )
        with self._store.database.read() as connection:
            rows = connection.execute(statement).all()
        return [Member(account_of(row), row.role) for row in sorted(rows, key=_folded)]

    def count_repositories(self, account: Account) -> int:
        """Return how many repositories an account owns."""
        with self._store.database.read() as connection:
            return count_repositories(connection, account.id)

    def sign_in(self, name: str, password: str) -> Account | None:
        """Return the user whose name and password these are, else None.

        It takes as long if there is no such user, or the user has no password.

        Raises:
            PasswordError: argon2-cffi is not installed.
        """
        row = self._find(name)
        kept = None if row is None else row.password
        if not is_right(password, kept) or row is None or kept is None:
            return None
        if is_outdated(kept):
            newer = hash_password(password)
            self._store.database.transact(lambda changed: _set_password(changed, row.id, newer))
        return account_of(row)

    def has_credentials(self) -> bool:
        """Whether any user could sign in: has a token that has not expired."""
        statement = (
            select(TOKENS.c.id)
            .join(ACCOUNTS, ACCOUNTS.c.id == TOKENS.c.account_id)
            .where(
                ACCOUNTS.c.deleted_at.is_(None),
                or_(TOKENS.c.expires_at.is_(None), TOKENS.c.expires_at > datetime.now(UTC)),
            )
        )
        with self._store.database.read() as connection:
            return connection.execute(statement.limit(1)).first() is not None


def _folded(row: Row[Any]) -> str:
    return str(row.folded)  # databases sort '-' in different ways


def _check_name(name: str) -> None:
    """Refuse a name that clients or pages could not use.

    Raises:
        InvalidNameError: The name is refused.
    """
    if fold_owner(name) in RESERVED:
        raise InvalidNameError(
            f"No account can be called {name}: a hub has a page or an endpoint of that name. "
            "Choose another name.",
            name,
        )
    if "--" in name or name[-1] in "-_":
        raise InvalidNameError(
            f"An account's name has no '--', and ends in a letter or digit, not {name!r}: clients "
            "of a hub refuse others.",
            name,
        )


def _set_password(connection: Connection, account_id: int, kept: str) -> None:
    connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == account_id).values(password=kept))
