from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, select, update

from registry import AdapterRef, Catalog, Folder
from registry.accounts.accounts import Accounts
from registry.accounts.token_text import hash_token, make_token
from registry.accounts.tokens import Tokens
from registry.errors import (
    AccountNotFoundError,
    ConflictError,
    InvalidNameError,
    RefNotFoundError,
    TokenNotFoundError,
)
from registry.log.log import current_user
from registry.tables.models import ACCOUNTS, TOKENS

SOON = timedelta(days=1)


def test_a_token_stands_for_its_user_with_their_roles(accounts: Accounts, tokens: Tokens) -> None:
    caller = tokens.check(tokens.create("ALICE", "laptop", "write"))
    assert caller is not None
    assert caller.account == accounts.require("alice")
    assert (caller.token, caller.scope, caller.repositories) == ("laptop", "write", None)
    assert caller.roles == {accounts.require("acme").id: "admin"}
    assert caller.actor == "Alice (laptop)"


def test_roles_are_those_of_now(accounts: Accounts, tokens: Tokens) -> None:
    text = tokens.create("bob", "laptop", "write")
    accounts.set_member("acme", "bob", "read")
    caller = tokens.check(text)
    assert caller is not None
    assert [*caller.roles.values()] == ["read"]
    accounts.set_member("acme", "bob", None)
    caller = tokens.check(text)
    assert caller is not None
    assert caller.roles == {}


@pytest.mark.usefixtures("accounts")
def test_only_a_hash_of_a_token_is_kept(catalog: Catalog, tokens: Tokens) -> None:
    text = tokens.create("alice", "laptop", "write")
    with catalog.database.read() as connection:
        row = connection.execute(select(TOKENS)).one()
    assert row.hash == hash_token(text)
    assert text not in str(row)
    assert row.hint == text[:11]


@pytest.mark.usefixtures("accounts")
def test_a_text_that_no_token_has_is_refused_without_a_query(
    catalog: Catalog, tokens: Tokens
) -> None:
    asked = []
    event.listen(
        catalog.database.backend.reading_engine, "before_cursor_execute", lambda *a: asked.append(a)
    )
    right = make_token()
    for text in ("", "hf_1234", "hubkit_", right[:-1], right + "0", right.upper(), "hubkit_\0"):
        assert tokens.check(text) is None
    assert asked == []
    assert tokens.check(right) is None
    assert len(asked) == 1


@pytest.mark.usefixtures("accounts")
def test_a_revoked_token_is_nobodys(tokens: Tokens) -> None:
    text, other = (tokens.create("alice", name, "read") for name in ("laptop", "cluster"))
    tokens.revoke("Alice", "laptop")
    assert tokens.check(text) is None
    assert tokens.check(other)
    tokens.create("alice", "laptop", "read")


def test_a_token_is_valid_until_it_expires(
    catalog: Catalog, accounts: Accounts, tokens: Tokens
) -> None:
    text = tokens.create("alice", "laptop", "read", expires_at=datetime.now(UTC) + SOON)
    assert tokens.check(text)
    with catalog.database.write() as connection:
        connection.execute(update(TOKENS).values(expires_at=datetime.now(UTC) - SOON))
    assert tokens.check(text) is None
    assert not accounts.has_credentials()


def test_a_token_is_not_valid_for_a_removed_account(
    catalog: Catalog, accounts: Accounts, tokens: Tokens
) -> None:
    text = tokens.create("alice", "laptop", "read")
    # Not by `remove`, which takes the token away as well.
    with catalog.database.write() as connection:
        connection.execute(update(ACCOUNTS).values(deleted_at=datetime.now(UTC)))
    assert tokens.check(text) is None


@pytest.mark.usefixtures("accounts")
def test_a_token_can_be_limited_to_repositories(
    catalog: Catalog, tokens: Tokens, make_folder: Callable[..., Folder]
) -> None:
    for name in ("acme/one", "acme/Two", "acme/three"):
        catalog.publish(AdapterRef.parse(name), make_folder())
    text = tokens.create(
        "alice", "laptop", "write", repositories=["ACME/two", "acme/one", "acme/one"]
    )
    caller = tokens.check(text)
    assert caller is not None
    assert caller.repositories is not None
    assert len(caller.repositories) == 2
    [listed] = tokens.of(caller.account)
    assert listed.repositories == ("acme/one", "acme/Two")


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("acme/nothing", RefNotFoundError),
        ("datasets/acme/one", RefNotFoundError),
        ("acme/one@1", RefNotFoundError),
        ("a/b/c", InvalidNameError),
    ],
)
def test_a_token_cannot_be_limited_to_what_is_not_there(
    catalog: Catalog,
    tokens: Tokens,
    make_folder: Callable[..., Folder],
    name: str,
    error: type[Exception],
) -> None:
    catalog.publish(AdapterRef.parse("acme/one"), make_folder())
    with pytest.raises(error):
        tokens.create("alice", "laptop", "write", repositories=["acme/one", name])
    with catalog.database.read() as connection:
        assert connection.execute(select(TOKENS)).all() == []


def test_a_users_tokens_have_different_names(accounts: Accounts, tokens: Tokens) -> None:
    tokens.create("alice", "laptop", "read")
    tokens.create("bob", "laptop", "read")
    with pytest.raises(ConflictError, match="Alice has a token 'laptop'"):
        tokens.create("alice", "laptop", "write")
    assert [token.scope for token in tokens.of(accounts.require("alice"))] == ["read"]


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize("name", ["", " ", "a\nb", "a ", "x" * 97, "\x1b[31m"])
def test_a_tokens_name_is_a_line(tokens: Tokens, name: str) -> None:
    with pytest.raises(InvalidNameError, match="one line of 1 to 96 printable characters"):
        tokens.create("alice", name, "read")


@pytest.mark.usefixtures("accounts")
def test_what_a_token_cannot_be_is_refused(tokens: Tokens) -> None:
    with pytest.raises(InvalidNameError, match="read or write or admin, not 'all'"):
        tokens.create("alice", "laptop", "all")  # type: ignore[arg-type]
    with pytest.raises(InvalidNameError, match="expires in the future"):
        tokens.create("alice", "laptop", "read", expires_at=datetime.now(UTC) - SOON)
    with pytest.raises(AccountNotFoundError, match="Acme is an organisation: expected a user"):
        tokens.create("acme", "laptop", "read")
    with pytest.raises(AccountNotFoundError, match="No user is called nobody"):
        tokens.create("nobody", "laptop", "read")


def test_tokens_are_listed_by_name_without_their_text(accounts: Accounts, tokens: Tokens) -> None:
    expires_at = datetime.now(UTC) + SOON
    texts = [
        tokens.create("alice", "laptop", "write"),
        tokens.create("alice", "cluster", "read", expires_at=expires_at),
    ]
    cluster, laptop = tokens.of(accounts.require("alice"))
    assert (cluster.name, cluster.scope, cluster.expires_at) == ("cluster", "read", expires_at)
    assert (laptop.name, laptop.scope, laptop.expires_at) == ("laptop", "write", None)
    assert laptop.repositories == ()
    assert laptop.last_used_at is None
    assert not any(text in f"{cluster}{laptop}" for text in texts)


@pytest.mark.usefixtures("accounts")
def test_a_token_that_is_not_there_cannot_be_revoked(tokens: Tokens) -> None:
    tokens.create("alice", "laptop", "read")
    with pytest.raises(TokenNotFoundError, match=r"Alice has no token 'lapto'\. Did you mean lap"):
        tokens.revoke("alice", "lapto")


def test_the_last_use_only_moves_forward(accounts: Accounts, tokens: Tokens) -> None:
    alice = accounts.require("alice")
    ids = []
    for name in ("a", "b"):
        caller = tokens.check(tokens.create("alice", name, "read"))
        assert caller is not None
        ids.append(caller.token_id)
    now = datetime.now(UTC)
    tokens.touch({ids[1]: now, ids[0]: now - SOON, 12345: now})
    tokens.touch({ids[1]: now - SOON, ids[0]: now})
    tokens.touch({})
    assert [token.last_used_at for token in tokens.of(alice)] == [now, now]


@pytest.mark.usefixtures("accounts")
def test_the_log_says_what_a_token_allows_and_not_what_it_is(
    catalog: Catalog, tokens: Tokens, make_folder: Callable[..., Folder]
) -> None:
    catalog.publish(AdapterRef.parse("acme/one"), make_folder())
    expires_at = datetime.now(UTC) + SOON
    text = tokens.create(
        *("alice", "laptop", "write"),
        repositories=["acme/one"],
        expires_at=expires_at,
    )
    tokens.revoke("alice", "laptop")
    with catalog.database.read() as connection:
        entries = [e for e in catalog.log.entries(connection) if e.action == "token"]
    created, revoked = ({**entry.details} for entry in entries)
    assert created.pop("created_at")
    assert created == {
        "change": "created",
        "account": "Alice",
        "token": "laptop",
        "scope": "write",
        "repositories": ["acme/one"],
        "expires_at": expires_at.isoformat(),
    }
    assert revoked == {"change": "revoked", "account": "Alice", "token": "laptop"}
    assert {entry.actor for entry in entries} == {current_user()}
    for entry in entries:
        assert text not in str(entry)
        assert hash_token(text) not in str(entry)
