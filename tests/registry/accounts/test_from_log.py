"""The log brings accounts back, without credentials, and tells rows that were altered."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from registry import AdapterRef, Catalog, Folder
from registry.accounts.accounts import Accounts
from registry.accounts.keys import signing_key
from registry.accounts.token_text import hash_token
from registry.accounts.tokens import Tokens
from registry.database.sqlite import copy_database
from registry.errors import AlteredRowsError
from registry.home import find_catalog
from registry.maintenance.backup import back_up, restore
from registry.maintenance.bundle import export_bundle
from registry.maintenance.checks.accounts import check_accounts
from registry.maintenance.fsck import check_registry
from registry.maintenance.rebuild import rebuild
from registry.tables.models import ACCOUNTS, METADATA, TOKENS
from tests.support.sweeps import on_one_each

PASSWORD = "correct horse battery"

ALICE, ACME = (f"(SELECT id FROM accounts WHERE folded = '{name}')" for name in ("alice", "acme"))


def rows(catalog: Catalog, *tables: str) -> list[set[tuple[object, ...]]]:
    with catalog.database.read() as connection:
        return [
            {tuple(row) for row in connection.execute(select(METADATA.tables[table]))}
            for table in tables
        ]


def alter(catalog: Catalog, *statements: str) -> None:
    with catalog.database.write() as connection:
        for statement in statements:
            connection.execute(text(statement))


@pytest.mark.sqlite
def test_accounts_and_members_come_back_without_credentials(
    catalog: Catalog, accounts: Accounts, tokens: Tokens, make_folder: Callable[..., Folder]
) -> None:
    catalog.publish(AdapterRef.parse("carol/film"), make_folder())
    accounts.add_user("carol", admin=True)
    accounts.set_member("acme", "bob", "write")
    accounts.set_member("acme", "carol", "read")
    accounts.remove("bob")
    before = rows(catalog, "accounts", "members", "repositories")
    accounts.change_user("carol", password=PASSWORD)
    token = tokens.create("carol", "laptop", "admin")
    signing_key(catalog.store)
    catalog.database.close()
    catalog.database.path.unlink()
    assert rebuild(catalog).problems == ()
    assert rows(catalog, "accounts", "members", "repositories") == before
    assert rows(catalog, "tokens", "secrets") == [set(), set()]
    assert tokens.check(token) is None
    assert accounts.sign_in("carol", PASSWORD) is None
    assert check_registry(catalog, full=True).status == 0
    tokens.create("carol", "laptop", "read")
    assert check_registry(catalog, full=True).status == 0


@pytest.mark.sqlite
def test_an_older_database_lets_nobody_in_whom_later_entries_keep_out(
    catalog: Catalog, accounts: Accounts, tokens: Tokens, tmp_path: Path
) -> None:
    accounts.add_user("carol", password=PASSWORD, admin=True)
    accounts.change_user("bob", password=PASSWORD)
    kept, revoked, removed = (
        tokens.create(user, name, "read")
        for user, name in (("alice", "kept"), ("alice", "revoked"), ("carol", "laptop"))
    )
    older = tmp_path / "older.db"
    copy_database(catalog.database.path, older)
    tokens.revoke("alice", "revoked")
    accounts.change_user("bob", password="another one")
    accounts.set_member("acme", "alice", None)
    accounts.remove("carol")
    catalog.database.close()
    for file in catalog.home.glob("hubkit.db*"):
        file.unlink()
    older.rename(catalog.database.path)
    assert tokens.check(revoked)
    assert rebuild(catalog).problems == ()
    assert tokens.check(kept)
    assert tokens.check(revoked) is None
    assert tokens.check(removed) is None
    assert accounts.sign_in("bob", PASSWORD) is None
    assert accounts.find("carol") is None
    assert accounts.members(accounts.require("acme")) == []
    assert check_registry(catalog, full=True).status == 0


@pytest.mark.sqlite
def test_no_credential_is_in_any_file_but_the_database(
    catalog: Catalog,
    accounts: Accounts,
    tokens: Tokens,
    make_folder: Callable[..., Folder],
    tmp_path: Path,
) -> None:
    film = AdapterRef.parse("alice/film")
    catalog.publish(film, make_folder())
    accounts.add_user("carol", password=PASSWORD)
    accounts.change_user("bob", password=PASSWORD)
    token = tokens.create("alice", "laptop", "admin", repositories=["alice/film"])
    key = signing_key(catalog.store)
    bundle = tmp_path / "film.tar"
    with bundle.open("wb") as target:
        export_bundle(catalog, film, target)
    with catalog.database.read() as connection:
        hashes = [*connection.scalars(select(ACCOUNTS.c.password)), hash_token(token)]
    credentials = [one.encode() for one in (PASSWORD, token, token[7:], key, *filter(None, hashes))]
    assert len(credentials) == 7
    files = [path for path in catalog.home.rglob("*") if path.is_file()]
    found = {
        path.name
        for path in [*files, bundle]
        if any(credential in path.read_bytes() for credential in credentials)
    }
    assert found - {"hubkit.db", "hubkit.db-wal"} == set()
    assert found  # in the database they are, as hashes
    assert any("records" in path.parts for path in files)


CHANGES = {
    "an admin": ("UPDATE accounts SET admin = true WHERE folded = 'bob'", "bob: its right to"),
    "a name": ("UPDATE accounts SET name = 'Robert' WHERE folded = 'bob'", "bob: its name"),
    "a kind": ("UPDATE accounts SET kind = 'user' WHERE folded = 'acme'", "Acme: its kind"),
    "a date": (
        "UPDATE accounts SET created_at = '2020-01-01 00:00:00.000000' WHERE folded = 'bob'",
        "bob: its date should be",
    ),
    "a removal": (
        "UPDATE accounts SET deleted_at = '2020-01-01 00:00:00.000000' WHERE folded = 'bob'",
        "bob: its date of removal",
    ),
    "a removal undone": (
        "UPDATE accounts SET deleted_at = NULL WHERE folded = 'gone'",
        "gone: its date of removal",
    ),
    "a lost account": ("DELETE FROM accounts WHERE folded = 'gone'", "it has no row"),
    "a role": ("UPDATE members SET role = 'read'", "alice in acme: its role should be admin"),
    "a lost member": ("DELETE FROM members", "alice in acme: its role should be admin"),
    "a false member": (
        f"INSERT INTO members SELECT {ACME}, id, 'admin' FROM accounts WHERE folded = 'bob'",
        "bob in acme: its role should be none",
    ),
}


@on_one_each("what", [(what,) for what in CHANGES])
def test_an_altered_account_is_told_of_and_written_again(
    catalog: Catalog, accounts: Accounts, what: str
) -> None:
    accounts.add_user("gone")
    accounts.remove("gone")
    tables = ("accounts", "members")
    before = rows(catalog, *tables)
    statement, problem = CHANGES[what]
    alter(catalog, statement)
    found = [*check_accounts(catalog, repair=False)]
    assert any(problem in finding.text for finding in found)
    assert {finding.about for finding in found} == {AlteredRowsError}
    assert {finding.state for finding in check_accounts(catalog, repair=True)} == {"repaired"}
    assert check_registry(catalog, full=True).findings == ()
    if what != "a lost account":  # it comes back with another id
        assert rows(catalog, *tables) == before


def test_a_lost_account_owns_again_what_was_its_own(
    catalog: Catalog, make_folder: Callable[..., Folder]
) -> None:
    catalog.publish(AdapterRef.parse("alice/film"), make_folder())
    accounts = Accounts(catalog.store)
    accounts.add_user("alice", admin=True)
    before = accounts.require("alice")
    alter(catalog, "UPDATE repositories SET account_id = NULL", "DELETE FROM accounts")
    assert check_registry(catalog, full=True, repair=True).status == 1
    after = accounts.require("alice")
    assert (after.name, after.created_at, after.admin) == ("alice", before.created_at, True)
    assert accounts.count_repositories(after) == 1


TOKEN_CHANGES = {
    "a scope": "UPDATE tokens SET scope = 'admin' WHERE name = 'laptop'",
    "no expiry": "UPDATE tokens SET expires_at = NULL WHERE name = 'laptop'",
    "no limits": "DELETE FROM token_repositories",
    "another user": f"UPDATE tokens SET account_id = {ALICE} WHERE name = 'laptop'",
    "another name": "UPDATE tokens SET name = 'desk' WHERE name = 'laptop'",
}


@on_one_each("what", [(what,) for what in TOKEN_CHANGES])
def test_a_token_that_allows_something_else_than_the_log_says_is_revoked(
    catalog: Catalog,
    accounts: Accounts,
    tokens: Tokens,
    make_folder: Callable[..., Folder],
    what: str,
) -> None:
    catalog.publish(AdapterRef.parse("alice/film"), make_folder())
    soon = datetime.now(UTC) + timedelta(days=1)
    altered = tokens.create("bob", "laptop", "read", repositories=["alice/film"], expires_at=soon)
    sound = tokens.create("alice", "cluster", "read")
    tokens.revoke("alice", "cluster")
    sound = tokens.create("alice", "cluster", "write")
    assert [*check_accounts(catalog, repair=False)] == []
    alter(catalog, TOKEN_CHANGES[what])
    (finding,) = check_accounts(catalog, repair=False)
    assert finding.about is AlteredRowsError
    assert "The token" in finding.text
    assert [finding.state for finding in check_accounts(catalog, repair=True)] == ["repaired"]
    assert tokens.check(altered) is None
    assert tokens.check(sound)
    assert check_registry(catalog, full=True).status == 0
    assert accounts.has_credentials()


@pytest.mark.usefixtures("accounts")
def test_a_token_that_was_slipped_in_is_revoked(catalog: Catalog, tokens: Tokens) -> None:
    text = tokens.create("alice", "laptop", "read")
    with catalog.database.read() as connection:
        [row] = [dict(row._mapping) for row in connection.execute(select(TOKENS))]
    tokens.revoke("alice", "laptop")
    with catalog.database.write() as connection:
        connection.execute(TOKENS.insert(), row)
    assert tokens.check(text)
    [finding] = check_registry(catalog, full=True).findings
    assert (
        finding.text
        == "The token 'laptop' of alice: the log does not contain it, or says that it was revoked."
    )
    check_registry(catalog, full=True, repair=True)
    assert tokens.check(text) is None


def test_an_account_that_was_slipped_in_is_told_of_and_left_to_people(
    catalog: Catalog, accounts: Accounts
) -> None:
    alter(
        catalog,
        "INSERT INTO accounts (name, folded, kind, admin, created_at) "
        "VALUES ('Mallory', 'mallory', 'user', true, '2020-01-01 00:00:00.000000')",
    )
    for repair in (False, True):
        [finding] = check_registry(catalog, full=True, repair=repair).findings
        assert "Mallory: there is a row of this account, but the log does not" in finding.text
    assert accounts.require("mallory").admin
    accounts.remove("mallory")
    assert check_registry(catalog, full=True).status == 0
    assert accounts.find("mallory") is None


@pytest.mark.sqlite
def test_a_backup_has_the_credentials(
    catalog: Catalog, accounts: Accounts, tokens: Tokens, tmp_path: Path
) -> None:
    accounts.change_user("bob", password=PASSWORD)
    token, key = tokens.create("alice", "laptop", "read"), signing_key(catalog.store)
    back_up(catalog, tmp_path / "backup")
    restored = find_catalog(tmp_path / "restored")
    restore(tmp_path / "backup", restored)
    assert Tokens(restored.store).check(token) == tokens.check(token)
    assert Accounts(restored.store).sign_in("bob", PASSWORD)
    assert signing_key(restored.store) == key


@pytest.mark.sqlite
def test_entries_about_a_lost_account_change_nothing_else(
    catalog: Catalog, accounts: Accounts
) -> None:
    """The record of bob's addition is lost: what else is known comes back."""
    accounts.set_member("acme", "bob", "write")
    with catalog.database.read() as connection:
        lost = next(
            entry.sequence
            for entry in catalog.log.entries(connection)
            if entry.details.get("account") == "bob"
        )
    catalog.database.close()
    catalog.database.path.unlink()
    Path(catalog.log.records.location(lost)).unlink()
    assert len(rebuild(catalog).problems) == 1
    assert [user.name for user in accounts.users()] == ["Alice"]
    assert [one.account.name for one in accounts.members(accounts.require("acme"))] == ["Alice"]
