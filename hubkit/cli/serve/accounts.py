"""The accounts of a hub as the commands for users and for organisations print them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.output import print_json

if TYPE_CHECKING:
    from registry.accounts.access import Account
    from registry.accounts.accounts import Accounts


def open_accounts() -> Accounts:
    """The accounts of the user's registry."""
    from registry import open_catalog
    from registry.accounts.accounts import Accounts

    return Accounts(open_catalog().store)


def print_added(accounts: Accounts, account: Account, *, as_json: bool) -> None:
    """Print a new account, and what it owns already."""
    document = account_json(accounts, account)
    if as_json:
        print_json(document)
        return
    kind = "a user" if account.kind == "user" else "an organisation"
    click.echo(f"{account.name} is {kind}.")
    if count := document["repositories"]:
        what = "One adapter" if count == 1 else f"{count} adapters"
        click.echo(f"{what} published as {account.name}/... so far: {account.name} owns that now.")


def list_claimed() -> None:
    """Let a hub list what a new account owns from now on."""
    from registry import open_catalog

    open_catalog().history.complete_listings()


def print_removed(accounts: Accounts, account: Account) -> None:
    """Say that an account is removed, and what it leaves."""
    click.echo(f"{account.name} is removed; the name cannot be used again.")
    if count := accounts.count_repositories(account):
        things = "one repository" if count == 1 else f"{count} repositories"
        click.echo(f"It leaves {things}, to which only an administrator can commit.")


def account_json(accounts: Accounts, account: Account) -> dict[str, Any]:
    """An account as the commands print it in JSON; the keys are in docs/cli.md."""
    document: dict[str, Any] = {
        "name": account.name,
        "created_at": account.created_at.isoformat(),
        "repositories": accounts.count_repositories(account),
    }
    if account.kind == "user":
        others = {one.account.name: one.role for one in accounts.memberships(account)}
        return document | {"admin": account.admin, "organisations": others}
    return document | {"members": {one.account.name: one.role for one in accounts.members(account)}}


def roles_text(roles: dict[str, str]) -> str:
    """Who has which role, for a table."""
    return ", ".join(f"{name} ({role})" for name, role in roles.items()) or "-"
