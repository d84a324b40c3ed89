"""hubkit user."""

from __future__ import annotations

import sys

import click

from hubkit.cli.options import json_option, yes_option
from hubkit.cli.output import print_json, print_table
from hubkit.cli.serve.accounts import (
    account_json,
    list_claimed,
    open_accounts,
    print_added,
    print_removed,
    roles_text,
)

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
@click.option("--admin", is_flag=True, help="The user may do everything on the hub.")
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
@click.option(
    "--admin/--no-admin", default=None, help="Whether the user may do everything on the hub."
)
@_password_option
def change(name: str, admin: bool | None, with_password: bool) -> None:
    """Change a user's password, or their right to administer the hub.

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
    "Remove the user for good? Their tokens stop working, and the name cannot be used again",
    "Not removed",
)
def remove(name: str) -> None:
    """Remove a user with their tokens and memberships; what they own stays.

    NAME cannot be used again.

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
