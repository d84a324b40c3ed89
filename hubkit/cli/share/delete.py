"""hubkit delete."""

from __future__ import annotations

from contextlib import suppress

import click

from hubkit.cli.options import yes_option
from hubkit.cli.params import REF
from registry.errors import HubkitError, listed
from registry.refs import AdapterRef


def _made_of_it(ctx: click.Context) -> str:
    """Say which adapters are made of this one, and what happens to them."""
    from registry import open_catalog

    with suppress(HubkitError):  # which the command tells
        users = open_catalog(create=False).users(ctx.params["name"])
        if users:
            names = listed([str(one.ref.repository) for one in users])
            are = "is" if len(users) == 1 else "are"
            return f"{names} {are} made of it. What that needs stays, without a name."
    return ""


@click.command("delete")
@click.argument("name", type=REF)
@yes_option(
    "Delete it with all its versions? The name cannot be used again",
    "Not deleted",
    note=_made_of_it,
)
def command(name: AdapterRef) -> None:
    """Delete an adapter with all its versions.

    Its name is never given to another adapter. Versions that other adapters are made of stay,
    without a name, until those are deleted, too. `hubkit gc` removes the other bytes, after two
    days at the earliest.

    \b
    Example:
      hubkit delete reviews
    """
    from registry import open_catalog

    numbers = open_catalog(create=False).delete(name)
    versions = "1 version" if len(numbers) == 1 else f"{len(numbers)} versions"
    click.echo(f"{name} is deleted ({versions}).")
