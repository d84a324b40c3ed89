"""hubkit alias."""

from __future__ import annotations

import click

from hubkit.cli.params import REF
from registry.refs import AdapterRef


@click.command("alias")
@click.argument("ref", type=REF)
@click.argument("alias")
@click.option("--remove", is_flag=True, help="Forget the alias; the version stays.")
def command(ref: AdapterRef, alias: str, remove: bool) -> None:
    """Let ALIAS name the version that REF names now.

    An alias that exists moves. NAME@latest needs none: it is the newest version.

    \b
    Example:
      hubkit alias reviews@3 best
      hubkit predict reviews@best "What a film!"
      hubkit alias reviews best --remove
    """
    from registry import open_catalog

    if remove:
        open_catalog().remove_alias(ref, alias)
        click.echo(f"{ref.repository} has no alias {alias} any more.")
        return
    version = open_catalog().set_alias(ref, alias)
    click.echo(f"{version.ref.repository}@{alias} is {version.ref}.")
