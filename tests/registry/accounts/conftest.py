"""A registry with alice, bob and acme, of which alice is an admin."""

import pytest

from registry import Catalog
from registry.accounts import passwords
from registry.accounts.accounts import Accounts
from registry.accounts.tokens import Tokens
from tests.support.remembered import Remembered


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in no time: what guards them is in test_passwords.py alone."""
    from argon2 import PasswordHasher

    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(passwords, "_hasher", lambda: quick)
    monkeypatch.setattr(passwords, "_NOBODY", quick.hash("nobody's"))


@pytest.fixture
def accounts(catalog: Catalog, remembered: Remembered) -> Accounts:
    accounts = Accounts(catalog.store)

    def fill() -> None:
        accounts.add_user("Alice")
        accounts.add_user("bob")
        accounts.add_organisation("Acme")
        accounts.set_member("acme", "alice", "admin")

    remembered.fill("accounts", [catalog], fill)
    return accounts


@pytest.fixture
def tokens(catalog: Catalog) -> Tokens:
    return Tokens(catalog.store)
