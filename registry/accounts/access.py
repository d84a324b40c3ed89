"""Rights: one function decides, and docs/access.md has its answers as a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from registry.places import Visibility

Level = Literal["read", "write", "admin"]
"""The rights of a member in an organisation, or of a token: each level includes those before
it."""

LEVELS: tuple[Level, ...] = ("read", "write", "admin")


class Need(StrEnum):
    """The right that a request needs."""

    READ = "read"
    """Read."""

    SIGNED_IN = "signed in"
    """Read, with a token."""

    WRITE = "write"
    """Commit to a repository; make one for an account."""

    ADMIN = "admin"
    """Change the settings of a repository, delete or move it; change the members of an account."""


class Decision(StrEnum):
    """The answer to a request for a right."""

    ALLOWED = "allowed"
    HIDDEN = "hidden"
    """Answer as if there were no such repository."""

    FORBIDDEN = "forbidden"
    SIGN_IN = "sign in"
    """Ask for a token."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user, or an organisation of users.

    Attributes:
        id: Its row; never used for another account.
        name: Its name, as it was first spelled.
        kind: Its kind.
        created_at: When it was added.
        admin: Whether the user administers the whole hub.
    """

    id: int
    name: str
    kind: Literal["user", "organisation"]
    created_at: datetime
    admin: bool = False


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, by its token.

    Attributes:
        account: The account of the token.
        token_id: The token's row.
        token: The token's name.
        scope: The most that the token allows.
        repositories: The ids of the only repositories for which the token counts; None if it has
            no such limit.
        roles: The account's role in each organisation that it is a member of, by the
            organisation's id.
        expires_at: When the token ends; None for never.
    """

    account: Account
    token_id: int
    token: str
    scope: Level
    repositories: frozenset[int] | None = None
    roles: Mapping[int, Level] = field(default_factory=dict)
    expires_at: datetime | None = None

    @property
    def actor(self) -> str:
        """The name of the caller in the log."""
        return f"{self.account.name} ({self.token})"

    @property
    def is_administrator(self) -> bool:
        """Whether an administrator of the hub sent the request, with a token without limits."""
        return self.account.admin and self.scope == "admin" and self.repositories is None

    @property
    def reads(self) -> frozenset[int]:
        """The ids of the accounts whose private repositories the caller may read."""
        return frozenset((self.account.id, *self.roles))


@dataclass(frozen=True, slots=True)
class Place:
    """A repository, an account or the hub; use `of_repository`, `of_account`, `HUB` or `MISSING`.

    Attributes:
        account: The id of the account, or of the repository's account; None for the hub.
        repository: The id of the repository; None for an account or the hub.
        private: Whether only callers with a role there may know of it.
    """

    account: int | None = None
    repository: int | None = None
    private: bool = False

    @classmethod
    def of_repository(cls, id: int, account_id: int | None, visibility: Visibility) -> Self:
        """Return the place of a repository; one without an account is hidden from all callers."""
        return cls(account_id, id, visibility == "private" or account_id is None)

    @classmethod
    def of_account(cls, id: int) -> Self:
        """Return the place of an account. Names of accounts are public."""
        return cls(id)


HUB = Place()
"""The hub as a whole, such as its listings."""

MISSING = Place(private=True)
"""A missing repository: the answer is the same as for a hidden one."""


def decide(
    caller: Caller | None, need: Need, place: Place, *, sign_in_required: bool = False
) -> Decision:
    """Return whether a caller has a right.

    Args:
        caller: The caller; None for a request without a token.
        need: The right.
        place: The repository, account or hub.
        sign_in_required: Whether the hub shows nothing to callers without a token.
    """
    if caller is None:
        if sign_in_required or need is not Need.READ:
            return Decision.SIGN_IN
        return Decision.HIDDEN if place.private else Decision.ALLOWED
    role = _role(caller, place)
    if role is None and place.private:
        return Decision.HIDDEN
    if need in (Need.READ, Need.SIGNED_IN):
        return Decision.ALLOWED
    # Stock clients use a token with the scope "write" to delete repositories and change settings.
    scope = "write" if place.repository is not None else need.value
    if role is not None and _covers(role, need.value) and _covers(caller.scope, scope):
        return Decision.ALLOWED
    return Decision.FORBIDDEN


def _role(caller: Caller, place: Place) -> Level | None:
    """Return the caller's role at a place; the token's scope is not considered."""
    if caller.is_administrator and (place.account is not None or place == HUB):
        return "admin"
    if place.account is None:
        return None
    if caller.repositories is not None and place.repository not in caller.repositories:
        return None
    if place.account == caller.account.id:
        return "admin"
    return caller.roles.get(place.account)


def _covers(level: str, needed: str) -> bool:
    return LEVELS.index(level) >= LEVELS.index(needed)
