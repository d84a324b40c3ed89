"""Accounts as the log has them: to apply its entries to the rows, and to compare the two.

The log has neither passwords nor the text of tokens. Applying it brings back accounts and members.
It also ends what a later entry ended, so that a database from a backup does not let in a removed
user.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from registry.accounts.access import Level
from registry.accounts.rows import (
    Kind,
    add_account,
    remove_account,
    remove_token,
    require_account,
    set_role,
)
from registry.log.entry import Entry
from registry.refs import fold_owner
from registry.tables.models import ACCOUNTS, MEMBERS, TOKEN_REPOSITORIES, TOKENS

ACTIONS = ("account", "member", "token")


def apply_entry(connection: Connection, entry: Entry) -> None:
    """Apply an entry about accounts; ignore other entries.

    Raises:
        HubkitError: The entry does not fit the rows.
        KeyError: A detail is missing.
    """
    details: dict[str, Any] = dict(entry.details)
    match entry.action, details.get("change"):
        case "account", "added":
            at, admin = _time(details["created_at"]), bool(details.get("admin"))
            add_account(connection, details["account"], details["kind"], at, admin=admin)
        case "account", "changed":
            id = require_account(connection, details["account"]).id
            facts = {"admin": details["admin"]} if "admin" in details else {}
            facts |= {"password": None} if "password" in details else {}  # the old one ended
            if facts:
                connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == id).values(facts))
        case "account", "removed":
            row = require_account(connection, details["account"])
            remove_account(connection, row.id, _time(details["deleted_at"]))
        case "member", _:
            there = require_account(connection, details["organisation"], "organisation")
            user = require_account(connection, details["user"], "user")
            set_role(connection, there.id, user.id, details.get("role"))
        case "token", "revoked":
            row = require_account(connection, details["account"])
            named = (TOKENS.c.account_id == row.id, TOKENS.c.name == details["token"])
            for id in connection.scalars(select(TOKENS.c.id).where(*named)).all():
                remove_token(connection, id)


@dataclass(slots=True)
class _Account:
    """An account in the log; None for facts that the log does not have."""

    name: str
    kind: Kind | None = None
    created_at: datetime | None = None
    admin: bool | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Token:
    scope: str
    limits: int
    created_at: datetime
    expires_at: datetime | None


@dataclass(slots=True)
class LoggedAccounts:
    """All accounts in the log, after `add` of each entry in their order.

    Attributes:
        accounts: The accounts, by folded name.
        members: The role of each member, by the folded names of organisation and user.
        tokens: The tokens that were not revoked, by the folded name of the user and their name.
    """

    accounts: dict[str, _Account] = field(default_factory=dict)
    members: dict[tuple[str, str], Level] = field(default_factory=dict)
    tokens: dict[tuple[str, str], _Token] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Apply the next entry; ignore one that is not about accounts.

        Raises:
            HubkitError: It has a name that no account can have.
            KeyError: A detail is missing.
        """
        details: dict[str, Any] = dict(entry.details)
        match entry.action:
            case "account":
                self._add_account(details)
            case "member":
                member = (fold_owner(details["organisation"]), fold_owner(details["user"]))
                self.members.pop(member, None)
                if "role" in details:
                    self.members[member] = details["role"]
            case "token":
                token = (fold_owner(details["account"]), str(details["token"]))
                self.tokens.pop(token, None)
                if details["change"] == "created":
                    self.tokens[token] = _Token(
                        scope=details["scope"],
                        limits=len(details.get("repositories", ())),
                        created_at=_time(details["created_at"]),
                        expires_at=_time(details["expires_at"])
                        if "expires_at" in details
                        else None,
                    )

    def _add_account(self, details: dict[str, Any]) -> None:
        folded = fold_owner(details["account"])
        account = self.accounts.setdefault(folded, _Account(details["account"]))
        match details["change"]:
            case "added":
                account.kind, account.admin = details["kind"], bool(details.get("admin"))
                account.created_at = _time(details["created_at"])
            case "changed":
                account.admin = details.get("admin", account.admin)
            case "removed":
                account.deleted_at, account.admin = _time(details["deleted_at"]), False
                self.members = {
                    key: role for key, role in self.members.items() if folded not in key
                }
                self.tokens = {key: one for key, one in self.tokens.items() if key[0] != folded}

    def unknown(self, connection: Connection) -> list[str]:
        """Return the names of accounts that are in the rows but not in the log."""
        rows = connection.execute(select(ACCOUNTS.c.name, ACCOUNTS.c.folded)).all()
        return sorted(row.name for row in rows if row.folded not in self.accounts)

    def differences(self, connection: Connection) -> Iterator[str]:
        """Yield a sentence for each difference that `write` mends."""
        rows = {row.folded: row for row in connection.execute(select(ACCOUNTS))}
        for folded, account in self.accounts.items():
            row = rows.get(folded)
            if row is None:
                yield f"{account.name}: the log has this account, but it has no row."
                continue
            for what, expected in _facts(account).items():
                if (found := getattr(row, what)) != expected:
                    yield _differs(account.name, what, expected, found)
        members = _members(connection)
        for key in sorted(self.members.keys() | members.keys()):
            expected, found = self.members.get(key, "none"), members.get(key, "none")
            if expected != found:
                yield _differs(f"{key[1]} in {key[0]}", "role", expected, found)
        for key, _, allowed in _tokens(connection):
            named, logged = f"The token {key[1]!r} of {key[0]}", self.tokens.get(key)
            if logged is None:
                yield f"{named}: the log does not contain it, or says that it was revoked."
            elif allowed != logged:
                yield f"{named}: its rights differ from those in the log."

    def write(self, connection: Connection) -> None:
        """Write the rows as the log has them; revoke tokens that differ from it."""
        rows = {row.folded: row for row in connection.execute(select(ACCOUNTS))}
        for folded, account in self.accounts.items():
            row, facts = rows.get(folded), _facts(account)
            if row is None:
                at = account.created_at or account.deleted_at or datetime.now(UTC)
                kind, admin = account.kind or "user", bool(account.admin)
                id = add_account(connection, account.name, kind, at, admin=admin).id
            elif any(getattr(row, what) != expected for what, expected in facts.items()):
                id = row.id
                connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == id).values(facts))
            else:
                continue
            if account.deleted_at is not None:
                remove_account(connection, id, account.deleted_at)
        if _members(connection) != self.members:
            ids = {row.folded: row.id for row in connection.execute(select(ACCOUNTS))}
            connection.execute(delete(MEMBERS))
            for (organisation, user), role in self.members.items():
                if organisation in ids and user in ids:
                    set_role(connection, ids[organisation], ids[user], role)
        for key, id, token in _tokens(connection):
            if self.tokens.get(key) != token:
                remove_token(connection, id)


def _facts(account: _Account) -> dict[str, Any]:
    """Return the columns of an account's row that the log has."""
    facts = {
        "name": account.name,
        "kind": account.kind,
        "created_at": account.created_at,
        "admin": account.admin,
    }
    return {what: value for what, value in facts.items() if value is not None} | {
        "deleted_at": account.deleted_at
    }


def _members(connection: Connection) -> dict[tuple[str, str], str]:
    organisation, user = ACCOUNTS.alias(), ACCOUNTS.alias()
    rows = connection.execute(
        select(organisation.c.folded, user.c.folded, MEMBERS.c.role)
        .join(organisation, organisation.c.id == MEMBERS.c.organisation_id)
        .join(user, user.c.id == MEMBERS.c.user_id)
    )
    return {(of, who): role for of, who, role in rows}


def _tokens(connection: Connection) -> list[tuple[tuple[str, str], int, _Token]]:
    """Return, of each token, the names of user and token, the id, and its rights."""
    limits = (
        select(func.count())
        .where(TOKEN_REPOSITORIES.c.token_id == TOKENS.c.id)
        .scalar_subquery()
        .label("limits")
    )
    rows = connection.execute(
        select(TOKENS, ACCOUNTS.c.folded, limits).join(ACCOUNTS).order_by(TOKENS.c.id)
    )
    return [
        (
            (row.folded, row.name),
            row.id,
            _Token(row.scope, row.limits, row.created_at, row.expires_at),
        )
        for row in rows
    ]


def _differs(named: str, what: str, expected: object, found: object) -> str:
    shown = {"created_at": "date", "deleted_at": "date of removal", "admin": "right to administer"}
    text = f"{named}: its {shown.get(what, what)} should be {expected}, as the log says, but is"
    return f"{text} {found}."


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
