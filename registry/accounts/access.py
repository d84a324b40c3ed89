"""Who may do what: one function decides, and docs/access.md has its answers as a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from registry.places import Visibility

Level = Literal["read", "write", "admin"]
"""What a member may do in an organisation, or a token in the name of its account: each level
includes those before it."""

LEVELS: tuple[Level, ...] = ("read", "write", "admin")


class Need(StrEnum):
    """What a request is going to do."""

    READ = "read"
    """Look at it."""

    SIGNED_IN = "signed in"
    """Look at it, as somebody."""

    WRITE = "write"
    """Commit to a repository; make one for an account."""

    ADMIN = "admin"
    """Change the settings of a repository, delete or move it; change the members of an account."""


class Decision(StrEnum):
    """What comes of it."""

    ALLOWED = "allowed"
    HIDDEN = "hidden"
    """Answer as if there were no such thing."""

    FORBIDDEN = "forbidden"
    SIGN_IN = "sign in"
    """Ask for a token."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user, or an organisation of users.

    Attributes:
        id: Never given to another.
        name: As it was first spelled.
        kind: Which of the two.
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
    """Who shows a token, and what it is good for.

    Attributes:
        account: Whose token it is.
        token_id: The token's row.
        token: What the account calls it.
        scope: The most that the token allows.
        repositories: The ids of the only ones in which it allows more than reading what is public;
            None if it has no such limit.
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
        """What the log calls it."""
        return f"{self.account.name} ({self.token})"

    @property
    def is_administrator(self) -> bool:
        """Whether it administers the whole hub: a user who does, with a token without limits."""
        return self.account.admin and self.scope == "admin" and self.repositories is None

    @property
    def reads(self) -> frozenset[int]:
        """The ids of the accounts whose private repositories it may read, within its limits."""
        return frozenset((self.account.id, *self.roles))


@dataclass(frozen=True, slots=True)
class Place:
    """What a request is about; made by `of_repository` and `of_account`, or `HUB` or `MISSING`.

    Attributes:
        account: The id of the account that owns it, or that it is; None for the hub.
        repository: The id of the repository; None for an account or the hub.
        private: Whether only who has a role there may know of it.
    """

    account: int | None = None
    repository: int | None = None
    private: bool = False

    @classmethod
    def of_repository(cls, id: int, account_id: int | None, visibility: Visibility) -> Self:
        """Return the place of a repository; one without an account is hidden from everybody."""
        return cls(account_id, id, visibility == "private" or account_id is None)

    @classmethod
    def of_account(cls, id: int) -> Self:
        """Return the place of an account, whose name is no secret."""
        return cls(id)


HUB = Place()
"""The hub as a whole, such as its listings."""

MISSING = Place(private=True)
"""A repository that is not there: nobody can tell it from one that is hidden from them."""


def decide(
    caller: Caller | None, need: Need, place: Place, *, sign_in_required: bool = False
) -> Decision:
    """Say whether a caller may do something somewhere.

    Args:
        caller: Who asks; None for whoever shows no token.
        need: What for.
        place: Where.
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
    # Stock clients delete repositories, and change their settings, with tokens to write.
    scope = "write" if place.repository is not None else need.value
    if role is not None and _covers(role, need.value) and _covers(caller.scope, scope):
        return Decision.ALLOWED
    return Decision.FORBIDDEN


def _role(caller: Caller, place: Place) -> Level | None:
    """Return the caller's role at a place, without regard to the token's scope."""
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
