from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from sqlalchemy import delete, insert, select, update

from registry import AdapterRef, Catalog, Folder
from registry.accounts.access import Level
from registry.accounts.accounts import RESERVED, Accounts
from registry.accounts.tokens import Tokens
from registry.errors import (
    AccountNotFoundError,
    ConflictError,
    HubkitError,
    InvalidNameError,
    PasswordError,
)
from registry.log.log import current_user
from registry.refs import fold_owner
from registry.tables.models import ACCOUNTS, COMMITS, HUB_LISTINGS, REPOSITORIES, TREES
from tests.support.sweeps import on_one_each

PASSWORD = "correct horse battery"


def test_users_and_organisations_are_listed_by_name(accounts: Accounts) -> None:
    accounts.add_organisation("beta")
    assert [user.name for user in accounts.users()] == ["Alice", "bob"]
    assert [one.name for one in accounts.organisations()] == ["Acme", "beta"]
    assert [user.kind for user in accounts.users()] == ["user", "user"]


@pytest.mark.parametrize("spelled", ["Alice", "alice", "ALICE"])
def test_an_account_is_found_under_any_spelling(accounts: Accounts, spelled: str) -> None:
    found = accounts.find(spelled)
    assert found is not None
    assert found.name == "Alice"


def test_words_of_a_name_may_be_separated_otherwise(accounts: Accounts) -> None:
    accounts.add_user("the.great-one")
    assert accounts.require("The_Great.One").name == "the.great-one"


@pytest.mark.parametrize("name", ["alice", "ALICE", "acme"])
@pytest.mark.parametrize("kind", ["user", "organisation"])
def test_users_and_organisations_share_one_space_of_names(
    accounts: Accounts, name: str, kind: str
) -> None:
    add = accounts.add_user if kind == "user" else accounts.add_organisation
    with pytest.raises(ConflictError, match=r"Alice is a user|Acme is an organisation"):
        add(name)
    assert len(accounts.users()) == 2


NAMES = ("", "a b", "a/b", "-a", "é", "a.", "x.lock", "a..b", "a" * 97, "_xet", "a\n", "a@1")


@on_one_each("name", [(name,) for name in NAMES])
def test_a_name_that_no_owner_can_have_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidNameError):
        accounts.add_user(name)


@pytest.mark.parametrize("name", ["a--b", "a-", "a_"])
def test_a_name_that_stock_clients_refuse_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidNameError, match="clients of a hub refuse others"):
        accounts.add_organisation(name)


@pytest.mark.parametrize("name", ["api", "API", "datasets", "Well.Known", "robots.txt"])
def test_a_name_that_a_hub_needs_for_itself_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(InvalidNameError, match=f"No account can be called {name}"):
        accounts.add_user(name)


def test_reserved_names_are_folded_as_accounts_are() -> None:
    assert {fold_owner(name) for name in RESERVED} == RESERVED


def test_a_removed_account_keeps_its_name_from_others(accounts: Accounts) -> None:
    alice = accounts.remove("ALICE")
    assert accounts.find("alice") is None
    assert [user.name for user in accounts.users()] == ["bob"]
    for add in (accounts.add_user, accounts.add_organisation):
        with pytest.raises(ConflictError, match=r"Alice was a user until 20.* no other account"):
            add("alice")
    assert accounts.add_user("alice2").id > alice.id


def test_of_many_who_ask_for_a_name_at_once_one_gets_it(
    open_registry: Callable[[str], Catalog],
) -> None:
    registries = [Accounts(open_registry("shared").store) for _ in range(4)]

    def add(accounts: Accounts) -> bool:
        try:
            accounts.add_user("carol")
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(add, registries)) == [False, False, False, True]
    assert [user.name for user in registries[0].users()] == ["carol"]


def test_the_id_of_an_account_is_never_used_again(accounts: Accounts) -> None:
    ids = {accounts.require(name).id for name in ("alice", "bob", "acme")}
    for name in ("alice", "bob", "acme"):
        accounts.remove(name)
    assert accounts.add_user("carol").id not in ids


def test_a_removed_account_leaves_no_access_behind(accounts: Accounts, tokens: Tokens) -> None:
    accounts.change_user("alice", password=PASSWORD, admin=True)
    text = tokens.create("alice", "laptop", "admin")
    acme = accounts.require("acme")
    accounts.remove("alice")
    assert tokens.check(text) is None
    assert accounts.sign_in("alice", PASSWORD) is None
    assert accounts.members(acme) == []


def test_a_removed_organisation_has_no_members(accounts: Accounts) -> None:
    accounts.remove("acme", kind="organisation")
    assert accounts.memberships(accounts.require("alice")) == []
    with pytest.raises(AccountNotFoundError):
        accounts.set_member("acme", "alice", "read")


def test_only_what_was_asked_for_is_removed(accounts: Accounts) -> None:
    with pytest.raises(AccountNotFoundError, match="Acme is an organisation: expected a user"):
        accounts.remove("acme", kind="user")
    assert accounts.find("acme")


def test_whoever_is_not_there_is_named_with_near_ones(accounts: Accounts) -> None:
    with pytest.raises(AccountNotFoundError, match=r"No user is called Alise\. Did you mean Alice"):
        accounts.require("Alise", "user")
    with pytest.raises(AccountNotFoundError, match=r"No organisation is called alise\.$"):
        accounts.require("alise", "organisation")


def test_a_member_has_one_role_that_can_change_and_end(accounts: Accounts) -> None:
    acme, bob = accounts.require("acme"), accounts.require("bob")
    roles: list[Level] = ["read", "write", "admin", "read"]
    for role in roles:
        accounts.set_member("ACME", "Bob", role)
        assert {one.account.name: one.role for one in accounts.members(acme)} == {
            "Alice": "admin",
            "bob": role,
        }
        assert [(one.account.name, one.role) for one in accounts.memberships(bob)] == [
            ("Acme", role)
        ]
    accounts.set_member("acme", "bob", None)
    assert [one.account.name for one in accounts.members(acme)] == ["Alice"]
    accounts.set_member("acme", "bob", None)


@pytest.mark.parametrize(
    ("organisation", "user", "message"),
    [
        ("bob", "alice", "bob is a user: expected an organisation"),
        ("acme", "acme", "Acme is an organisation: expected a user"),
        ("nobody", "alice", "No organisation is called nobody"),
        ("acme", "nobody", "No user is called nobody"),
    ],
)
def test_only_a_user_can_be_in_only_an_organisation(
    accounts: Accounts, organisation: str, user: str, message: str
) -> None:
    with pytest.raises(AccountNotFoundError, match=message):
        accounts.set_member(organisation, user, "read")


def test_there_are_three_roles(accounts: Accounts) -> None:
    with pytest.raises(InvalidNameError, match="read or write or admin, not 'owner'"):
        accounts.set_member("acme", "bob", "owner")  # type: ignore[arg-type]


def test_an_administrator_can_be_made_and_unmade(accounts: Accounts) -> None:
    assert accounts.add_user("root", admin=True).admin
    assert accounts.change_user("bob", admin=True).admin
    assert accounts.require("bob").admin
    assert not accounts.change_user("root", admin=False).admin
    assert [user.name for user in accounts.users() if user.admin] == ["bob"]


def test_a_user_signs_in_with_the_password_and_no_other(accounts: Accounts) -> None:
    accounts.add_user("carol", password=PASSWORD)
    signed_in = accounts.sign_in("Carol", PASSWORD)
    assert signed_in == accounts.require("carol")
    assert accounts.sign_in("carol", "correct horse") is None
    assert accounts.sign_in("bob", PASSWORD) is None
    assert accounts.sign_in("nobody", PASSWORD) is None
    assert accounts.sign_in("no / name", PASSWORD) is None
    accounts.change_user("carol", password="another one")
    assert accounts.sign_in("carol", PASSWORD) is None
    assert accounts.sign_in("carol", "another one") == signed_in


def test_a_password_that_was_kept_with_weaker_settings_is_kept_anew(
    accounts: Accounts, catalog: Catalog
) -> None:
    from argon2 import PasswordHasher

    weak = PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD)
    with catalog.database.write() as connection:
        connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.name == "bob").values(password=weak))
    assert accounts.sign_in("bob", PASSWORD)
    with catalog.database.read() as connection:
        kept = connection.scalar(select(ACCOUNTS.c.password).where(ACCOUNTS.c.name == "bob"))
    assert kept != weak
    assert accounts.sign_in("bob", PASSWORD)


def test_a_short_password_adds_nobody(accounts: Accounts) -> None:
    with pytest.raises(PasswordError):
        accounts.add_user("carol", password="short")
    assert accounts.find("carol") is None


def test_only_a_token_lets_somebody_sign_in(accounts: Accounts, tokens: Tokens) -> None:
    assert not accounts.has_credentials()
    tokens.create("alice", "laptop", "read")
    assert accounts.has_credentials()
    tokens.revoke("alice", "laptop")
    assert not accounts.has_credentials()
    tokens.create("bob", "laptop", "read")
    accounts.remove("bob")
    assert not accounts.has_credentials()
    accounts.change_user("alice", password=PASSWORD)  # nothing takes one
    assert not accounts.has_credentials()


def test_an_account_owns_what_was_published_in_its_name(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    for name in ("Ada/one", "ada/two", "ADA/gone", "ada-b/three", "four"):
        catalog.publish(AdapterRef.parse(name), make_folder())
    catalog.delete(AdapterRef.parse("ada/gone"))
    accounts = Accounts(catalog.store)
    assert accounts.count_repositories(accounts.add_user("ada")) == 2
    assert accounts.count_repositories(accounts.add_organisation("ada.b")) == 1
    assert accounts.count_repositories(accounts.add_user("four")) == 0


def test_what_a_hub_lists_of_a_claimed_repository_says_whose_it_is(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    for name in ("carol/one", "dave/two"):
        catalog.publish(AdapterRef.parse(name), make_folder())
    # As the history of each would be; kept by hand, so that this test is about accounts alone.
    zeros = {"digest": "0" * 64, "oid": "0" * 40, "files": 0, "size": 0}
    now = datetime.now(UTC)
    with catalog.database.write() as connection:
        connection.execute(delete(HUB_LISTINGS))
        tree = connection.scalar(insert(TREES).returning(TREES.c.id), zeros)
        for id in connection.scalars(select(REPOSITORIES.c.id)).all():
            commit = connection.scalar(
                insert(COMMITS).returning(COMMITS.c.id),
                {
                    "repository_id": id,
                    "oid": "f" * 40,
                    "tree_id": tree,
                    "author": "carol",
                    "message": "",
                    "created_at": now,
                },
            )
            listing = {"repository_id": id, "kind": "model", "visibility": "private"}
            more = {"commit_id": commit, "card": "{}", "downloads": 0}
            connection.execute(insert(HUB_LISTINGS), listing | more)
    carol = Accounts(catalog.store).add_user("carol")
    with catalog.database.read() as connection:
        owners = connection.scalars(
            select(HUB_LISTINGS.c.account_id).order_by(HUB_LISTINGS.c.repository_id)
        ).all()
    assert owners == [carol.id, None]


def test_what_somebody_owns_is_not_claimed_by_another(
    catalog: Catalog, make_folder: Callable[..., Folder], accounts: Accounts
) -> None:
    catalog.publish(AdapterRef.parse("carol/one"), make_folder())
    bob = accounts.require("bob")
    with catalog.database.write() as connection:
        connection.execute(update(REPOSITORIES).values(account_id=bob.id))
    assert accounts.count_repositories(accounts.add_user("carol")) == 0
    assert accounts.count_repositories(bob) == 1


def test_the_log_says_who_did_what_to_which_account(catalog: Catalog, accounts: Accounts) -> None:
    with catalog.database.read() as connection:
        before, _ = catalog.log.head(connection)
    accounts.add_user("carol", admin=True, password=PASSWORD)
    accounts.change_user("carol", password="another one", admin=False)
    accounts.set_member("acme", "carol", "write")
    accounts.set_member("acme", "carol", "write")
    accounts.set_member("acme", "carol", None)
    accounts.remove("carol")
    with catalog.database.read() as connection:
        new = [one for one in catalog.log.entries(connection) if one.sequence > before]
    assert {entry.actor for entry in new} == {current_user()}
    entries = [(entry.action, dict(entry.details)) for entry in new]
    times = [
        details.pop(key)
        for _, details in entries
        for key in ("created_at", "deleted_at")
        if key in details
    ]
    assert len(times) == 2
    assert entries == [
        ("account", {"change": "added", "account": "carol", "kind": "user", "admin": True}),
        ("account", {"change": "changed", "account": "carol", "admin": False, "password": True}),
        ("member", {"organisation": "Acme", "user": "carol", "role": "write"}),
        ("member", {"organisation": "Acme", "user": "carol"}),
        ("account", {"change": "removed", "account": "carol"}),
    ]


def test_what_is_refused_is_not_in_the_log(catalog: Catalog, accounts: Accounts) -> None:
    with catalog.database.read() as connection:
        before = catalog.log.head(connection)
    for refused in (
        lambda: accounts.add_user("alice"),
        lambda: accounts.add_user("api"),
        lambda: accounts.set_member("acme", "nobody", "read"),
        lambda: accounts.remove("nobody"),
        lambda: accounts.change_user("nobody", admin=True),
    ):
        with pytest.raises(HubkitError):
            refused()
    with catalog.database.read() as connection:
        assert catalog.log.head(connection) == before
