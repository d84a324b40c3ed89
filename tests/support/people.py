"""A hub with people: users, an organisation, and a token for each role in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from registry import AdapterRef, Catalog
from registry.accounts.access import Caller
from registry.accounts.accounts import Accounts
from registry.accounts.tokens import Tokens
from registry.history.history import History
from registry.history.repositories import Repository
from registry.places import Kind, Visibility

OWNER = "acme"
"""An organisation of alice, who writes there, carol, who reads, and dora, who administers it."""


@dataclass
class People:
    """Who uses a hub.

    Attributes:
        catalog: The registry.
        tokens: The texts of tokens by what tests call them; the user's name is one to write.
    """

    catalog: Catalog
    tokens: dict[str, str] = field(default_factory=dict)

    def caller(self, name: str | None) -> Caller | None:
        """What is known of a token."""
        return None if name is None else Tokens(self.catalog.store).check(self.tokens[name])

    def make(
        self, name: str, visibility: Visibility = "public", kind: Kind = "model"
    ) -> Repository:
        """Make a repository."""
        owner, _, rest = name.partition("/")
        account = Accounts(self.catalog.store).require(owner)
        return History(self.catalog.store).create(
            kind,
            AdapterRef(owner, rest),
            account_id=account.id,
            visibility=visibility,
            actor=owner,
        )


def with_people(catalog: Catalog) -> People:
    """Give a registry users and an organisation."""
    accounts, tokens = Accounts(catalog.store), Tokens(catalog.store)
    people = People(catalog)
    for name in ("alice", "bob", "carol", "dora"):
        accounts.add_user(name)
        people.tokens[name] = tokens.create(name, "laptop", "write")
    accounts.add_user("root", admin=True)
    accounts.add_organisation(OWNER)
    accounts.set_member(OWNER, "alice", "write")
    accounts.set_member(OWNER, "carol", "read")
    accounts.set_member(OWNER, "dora", "admin")
    people.tokens |= {
        "root": tokens.create("root", "laptop", "admin"),
        "root writes": tokens.create("root", "writes", "write"),
        "alice reads": tokens.create("alice", "reads", "read"),
        "dora reads": tokens.create("dora", "reads", "read"),
    }
    return people
