"""hubkit yank."""

from __future__ import annotations

import click

from hubkit.cli.params import REF
from registry.refs import AdapterRef


@click.command("yank")
@click.argument("ref", type=REF)
@click.option("--reason", help="The reason, shown to users of the version.")
@click.option("--undo", is_flag=True, help="Show the version again.")
def command(ref: AdapterRef, reason: str | None, undo: bool) -> None:
    """Hide a version from everyone who does not ask for its number.

    Its bytes stay, so what is made of it keeps working. REF has a version number.

    \b
    Example:
      hubkit yank reviews@2 --reason "trained on test data"
      hubkit yank reviews@2 --undo
    """
    from registry import open_catalog

    if undo == bool(reason):
        raise click.UsageError("Give a --reason to yank a version, or --undo to show it again.")
    if reason:
        version = open_catalog().yank(ref, reason)
        click.echo(f"{version.ref} is yanked: {reason}")
    else:
        version = open_catalog().unyank(ref)
        click.echo(f"{version.ref} is not yanked.")
