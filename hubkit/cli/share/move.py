"""hubkit move."""

from __future__ import annotations

import click

from hubkit.cli.params import REF
from registry.refs import AdapterRef


@click.command("move")
@click.argument("name", type=REF)
@click.argument("to", type=REF, metavar="OWNER/NAME")
def command(name: AdapterRef, to: AdapterRef) -> None:
    """Give an adapter another name, such as one with an owner.

    Its versions, aliases and history stay. A hub shows adapters of accounts alone: it leaves out
    those without an owner until they are moved. On a hub, the old name keeps leading to the new
    one.

    \b
    Example:
      hubkit move reviews acme/reviews
    """
    from registry import open_catalog

    open_catalog(create=False).move(name, to)
    click.echo(f"{name} is {to} now.")
