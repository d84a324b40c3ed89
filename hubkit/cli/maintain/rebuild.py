"""hubkit rebuild."""

from __future__ import annotations

import sys

import click

from hubkit.cli.options import json_option
from hubkit.cli.output import print_json, printable, progress_bar


@click.command("rebuild")
@json_option
def command(as_json: bool) -> None:
    """Make the database anew from the blobs and records beside it.

    For a registry whose database is lost or damaged, or older than the records. Names, numbers,
    aliases, yanks and deletions come back. The damaged database is kept, and this says where. A
    sound database is left as it is. If something could not be brought back, this says what, and the
    exit status is 1.

    \b
    Example:
      hubkit rebuild
      hubkit fsck --full
    """
    from registry.home import find_catalog
    from registry.maintenance.rebuild import rebuild

    catalog = find_catalog()
    with progress_bar("Doing it again") as progress:
        done = rebuild(catalog, progress=progress)
    if as_json:
        print_json(
            {
                "entries": done.entries,
                "problems": [*done.problems],
                "kept": done.kept,
            }
        )
    else:
        label = catalog.database.backend.label
        for problem in done.problems:
            click.echo(f"LOST: {printable(str(problem))}")
        if done.entries:
            click.echo(f"{label} is made anew: {done.entries} changes done again.")
        else:
            click.echo(f"{label} is sound and knows all records: left as it is.")
        if done.kept:
            click.echo(f"The damaged one is kept as {done.kept}.", err=True)
    sys.exit(1 if done.problems else 0)
