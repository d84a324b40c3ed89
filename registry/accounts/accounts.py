"""Users, and organisations of users: they own what a hub keeps, and may commit to it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Row, exists, or_, select, update

from registry.accounts.access import LEVELS, Account, Level
from registry.accounts.passwords import hash_password, is_outdated, is_right
from registry.accounts.rows import (
    Kind,
    account_of,
    add_account,
    count_repositories,
    find_account,
    fold,
    remove_account,
    require_account,
    set_role,
)
from registry.errors import InvalidNameError
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
"""Names, folded, that no account gets: pages and endpoints of a hub have them, or may one day."""


@dataclass(frozen=True, slots=True)
class Member:
    """A user in an organisation.

    Attributes:
        account: The user, for who asks about an organisation; the organisation, for who asks
            about a user.
        role: What the user may do there.
    """

    account: Account
    role: Level


class Accounts:
    """The accounts of one registry.

    Args:
        store: What holds the registry.

    Names are found under any spelling. Methods that change something take `actor`, whom the log
    names; by default, the user of this process.
    """

    def __init__(self, store: Store) -> None:
        """Touch nothing yet."""
        self._store = store

    def add_user(
        self,
        name: str,
        *,
        password: str | None = None,
        admin: bool = False,
        actor: str | None = None,
    ) -> Account:
        """Add a user, who owns from now on what was published in that name.

        Args:
            name: What to call them, by the rule for an adapter's owner.
            password: What they sign in with to pages; default: they have tokens only.
            admin: Whether they administer the whole hub.
            actor: Who adds them.

        Raises:
            InvalidNameError: No account can be called that.
            ConflictError: One is, or was.
            PasswordError: As `hash_password`.
        """
        kept = None if password is None else hash_password(password)
        return self._add(name, "user", kept, admin, actor)

    def add_organisation(self, name: str, *, actor: str | None = None) -> Account:
        """Add an organisation without members, which owns what was published in that name.

        Raises:
            InvalidNameError: No account can be called that.
            ConflictError: One is, or was.
        """
        return self._add(name, "organisation", None, False, actor)

    def _add(
        self, name: str, kind: Kind, password: str | None, admin: bool, actor: str | None
    ) -> Account:
        _check_name(name)

        def change(connection: Connection) -> Account:
            account = add_account(connection, name, kind, datetime.now(UTC), admin=admin)
            if password is not None:
                _set_password(connection, account.id, password)
            self._store.log.append(
                connection,
                "account",
                actor=actor,
                change="added",
                account=name,
                kind=kind,
                admin=admin or None,
                created_at=account.created_at.isoformat(),
            )
            return account

        return self._store.database.transact(change)

    def change_user(
        self,
        name: str,
        *,
        password: str | None = None,
        admin: bool | None = None,
        actor: str | None = None,
    ) -> Account:
        """Give a user another password, or make them an administrator or none.

        Args:
            name: Whom.
            password: The new one; default: the old one stays.
            admin: Whether they administer the whole hub; default: as before.
            actor: Who does it.

        Raises:
            AccountNotFoundError: No user is called that.
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
                actor=actor,
                change="changed",
                account=row.name,
                admin=admin,
                password=True if kept else None,
            )
            return account_of(require_account(connection, name))

        return self._store.database.transact(change)

    def set_member(
        self, organisation: str, user: str, role: Level | None, *, actor: str | None = None
    ) -> None:
        """Make a user a member of an organisation with a role, change it, or end it with None.

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
                    actor=actor,
                    organisation=there.name,
                    user=member.name,
                    role=role,
                )

        self._store.database.transact(change)

    def remove(self, name: str, *, kind: Kind | None = None, actor: str | None = None) -> Account:
        """Take an account out of use: its tokens, password and memberships are gone.

        What it owns stays as it is, and its name is not given to anybody else.

        Args:
            name: Which one.
            kind: Of which kind it must be; default: any.
            actor: Who does it.

        Raises:
            AccountNotFoundError: There is no such account.
        """

        def change(connection: Connection) -> Account:
            row, at = require_account(connection, name, kind), datetime.now(UTC)
            remove_account(connection, row.id, at)
            self._store.log.append(
                connection,
                "account",
                actor=actor,
                change="removed",
                account=row.name,
                deleted_at=at.isoformat(),
            )
            return account_of(row)

        return self._store.database.transact(change)

    def find(self, name: str) -> Account | None:
        """Return an account, or None if there is none of that name.

        Raises:
            InvalidNameError: No account can be called that.
        """
        with self._store.database.read() as connection:
            row = find_account(connection, name)
        return None if row is None else account_of(row)

    def require(self, name: str, kind: Kind | None = None) -> Account:
        """Return an account.

        Raises:
            InvalidNameError: No account can be called that.
            AccountNotFoundError: None is, or it is not of that kind.
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

        Takes as long where there is no such user, or they have no password.

        Raises:
            PasswordError: argon2-cffi is not installed.
        """
        with self._store.database.read() as connection:
            try:
                row = find_account(connection, name)
            except InvalidNameError:
                row = None
        kept = None if row is None else row.password
        if not is_right(password, kept) or row is None or kept is None:
            return None
        if is_outdated(kept):
            newer = hash_password(password)
            self._store.database.transact(lambda changed: _set_password(changed, row.id, newer))
        return account_of(row)

    def has_credentials(self) -> bool:
        """Whether any user could sign in: has a password, or a token that has not expired."""
        valid = exists().where(
            TOKENS.c.account_id == ACCOUNTS.c.id,
            or_(TOKENS.c.expires_at.is_(None), TOKENS.c.expires_at > datetime.now(UTC)),
        )
        statement = select(ACCOUNTS.c.id).where(
            ACCOUNTS.c.deleted_at.is_(None), or_(ACCOUNTS.c.password.is_not(None), valid)
        )
        with self._store.database.read() as connection:
            return connection.execute(statement.limit(1)).first() is not None


def _folded(row: Row[Any]) -> str:
    return str(row.folded)  # databases sort '-' in different ways


def _check_name(name: str) -> None:
    """Refuse a name that no client or page could use.

    Raises:
        InvalidNameError: It is one.
    """
    if fold(name) in RESERVED:
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
