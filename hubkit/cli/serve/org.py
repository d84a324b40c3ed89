"""hubkit org."""

from __future__ import annotations

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


@click.group("org")
def command() -> None:
    """Add, list and remove the organisations of a hub, and their members.

    \b
    Example:
      hubkit org add acme
      hubkit org member acme alice --role write
    """


@command.command()
@click.argument("name")
@json_option
def add(name: str, as_json: bool) -> None:
    """Add an organisation, which owns from now on what was published as NAME/...

    \b
    Example:
      hubkit org add acme
    """
    accounts = open_accounts()
    organisation = accounts.add_organisation(name)
    list_claimed()
    print_added(accounts, organisation, as_json=as_json)


@command.command("list")
@json_option
def list_organisations(as_json: bool) -> None:
    """List the organisations and their members.

    \b
    Example:
      hubkit org list
    """
    accounts = open_accounts()
    found = [account_json(accounts, one) for one in accounts.organisations()]
    if as_json:
        print_json(found)
        return
    rows = [
        (one["name"], one["created_at"][:10], str(one["repositories"]), roles_text(one["members"]))
        for one in found
    ]
    print_table(("organisation", "added", "repositories", "members"), rows, lesser=("added",))


@command.command()
@click.argument("organisation")
@click.argument("user")
@click.option(
    "--role",
    type=click.Choice(["read", "write", "admin"]),
    help="The user's rights there: read private repositories, commit, or also change settings.",
)
@click.option("--remove", is_flag=True, help="End the membership.")
def member(organisation: str, user: str, role: str | None, remove: bool) -> None:
    """Make USER a member of ORGANISATION, or change their role there.

    \b
    Example:
      hubkit org member acme alice --role write
      hubkit org member acme alice --remove
    """
    if (role is None) != remove:
        raise click.UsageError("Give --role or --remove, one of them.")
    accounts = open_accounts()
    accounts.set_member(organisation, user, role)  # type: ignore[arg-type]
    there, who = accounts.require(organisation), accounts.require(user)
    state = "is not a member" if remove else f"is a member, with the role {role},"
    click.echo(f"{who.name} {state} of {there.name}.")


@command.command()
@click.argument("name")
@yes_option(
    "Remove the organisation for good? The name cannot be used again",
    "Not removed",
)
def remove(name: str) -> None:
    """Remove an organisation with its memberships; what it owns stays.

    NAME cannot be used again.

    \b
    Example:
      hubkit org remove acme
      hubkit org remove acme --yes
    """
    accounts = open_accounts()
    print_removed(accounts, accounts.remove(name, kind="organisation"))
