"""hubkit user."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from hubkit.cli.options import json_option, yes_option
from hubkit.cli.output import print_json, print_table

if TYPE_CHECKING:
    from registry.accounts.access import Account
    from registry.accounts.accounts import Accounts

_password_option = click.option(
    "--password",
    "with_password",
    is_flag=True,
    help="Ask for a password, or read a line of standard input; default: tokens only.",
)


@click.group("user")
def command() -> None:
    """Add, list, change and remove the users of a hub.

    \b
    Example:
      hubkit user add alice
      hubkit token create alice --name laptop --scope write
    """


@command.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="They may do everything on the hub.")
@_password_option
@json_option
def add(name: str, admin: bool, with_password: bool, as_json: bool) -> None:
    """Add a user, who owns from now on what was published as NAME/...

    \b
    Example:
      hubkit user add alice
      hubkit user add root --admin --password
    """
    password = _ask() if with_password else None
    accounts = open_accounts()
    user = accounts.add_user(name, password=password, admin=admin)
    list_claimed()
    print_added(accounts, user, as_json=as_json)


@command.command("list")
@json_option
def list_users(as_json: bool) -> None:
    """List the users, and the organisations that each is in.

    \b
    Example:
      hubkit user list
    """
    accounts = open_accounts()
    users = [account_json(accounts, user) for user in accounts.users()]
    if as_json:
        print_json(users)
        return
    rows = [
        (
            user["name"],
            user["created_at"][:10],
            "admin" if user["admin"] else "-",
            str(user["repositories"]),
            roles_text(user["organisations"]),
        )
        for user in users
    ]
    print_table(("user", "added", "hub", "repositories", "organisations"), rows, lesser=("added",))


@command.command()
@click.argument("name")
@click.option("--admin/--no-admin", default=None, help="Whether they may do everything on the hub.")
@_password_option
def change(name: str, admin: bool | None, with_password: bool) -> None:
    """Give a user another password, or another right to administer the hub.

    \b
    Example:
      hubkit user change alice --password
      hubkit user change alice --no-admin
    """
    if admin is None and not with_password:
        raise click.UsageError("Say what to change: --password, --admin or --no-admin.")
    user = open_accounts().change_user(
        name, password=_ask() if with_password else None, admin=admin
    )
    click.echo(f"{user.name} is changed.")


@command.command()
@click.argument("name")
@yes_option(
    "Remove the user for good? Their tokens stop working, and nobody else can be called that",
    "Not removed",
)
def remove(name: str) -> None:
    """Remove a user with their tokens and memberships; what they own stays.

    Nobody else can be called NAME afterwards.

    \b
    Example:
      hubkit user remove alice
      hubkit user remove alice --yes
    """
    accounts = open_accounts()
    print_removed(accounts, accounts.remove(name, kind="user"))


def _ask() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def open_accounts() -> Accounts:
    """The accounts of the user's registry."""
    from registry import open_catalog
    from registry.accounts.accounts import Accounts

    return Accounts(open_catalog().store)


def print_added(accounts: Accounts, account: Account, *, as_json: bool) -> None:
    """Say what an account is, and what it owns already."""
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
    click.echo(f"{account.name} is removed; nobody else can be called that.")
    if count := accounts.count_repositories(account):
        things = "one repository" if count == 1 else f"{count} repositories"
        click.echo(f"It leaves {things}, to which nobody but an administrator can commit.")


def account_json(accounts: Accounts, account: Account) -> dict[str, Any]:
    """What the commands say of an account; the keys are in docs/cli.md."""
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
