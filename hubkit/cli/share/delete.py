"""hubkit delete."""

from __future__ import annotations

import click

from hubkit.cli.options import yes_option
from hubkit.cli.params import REF
from registry.refs import AdapterRef


@click.command("delete")
@click.argument("name", type=REF)
@yes_option("Delete it with all its versions? Nothing else ever gets the name", "Not deleted")
def command(name: AdapterRef) -> None:
    """Delete an adapter with all its versions.

    Its name is never given to another adapter. An adapter that another one is made of stays. The
    bytes are removed by `hubkit gc`, not before two days have passed.

    \b
    Example:
      hubkit delete reviews
    """
    from registry import open_catalog

    numbers = open_catalog(create=False).delete(name)
    versions = "1 version" if len(numbers) == 1 else f"{len(numbers)} versions"
    click.echo(f"{name} is deleted ({versions}).")
