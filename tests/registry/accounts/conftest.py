"""A registry with alice, bob and acme, of which alice is an admin."""

import pytest

from registry import Catalog
from registry.accounts.accounts import Accounts
from registry.accounts.tokens import Tokens


@pytest.fixture
def accounts(catalog: Catalog) -> Accounts:
    accounts = Accounts(catalog.store)
    accounts.add_user("Alice")
    accounts.add_user("bob")
    accounts.add_organisation("Acme")
    accounts.set_member("acme", "alice", "admin")
    return accounts


@pytest.fixture
def tokens(catalog: Catalog) -> Tokens:
    return Tokens(catalog.store)
